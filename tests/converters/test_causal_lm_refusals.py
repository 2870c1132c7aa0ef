"""What is wrong with a language model is said in one sentence that its owner can act on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from converters.recipe import OutOfTolerance, Refused, UnsupportedSource
from tests.converters.conversions import convert
from tests.converters.tiny_language_models import change_json, change_weights, tokenizer, write_model

Damage = Callable[[Path], None]


def config(**changes: object) -> Damage:
    return lambda source: change_json(source / "config.json", **changes)


def weights(**changes: object) -> Damage:
    return lambda source: change_weights(source, **changes)


def cut(source: Path) -> None:
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5000])


def lose_a_part(source: Path) -> None:
    (source / "model.safetensors").rename(source / "model-1.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-2.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))


def reach_outside(source: Path) -> None:
    (source / "model.safetensors").rename(source / "model-1.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../other/model.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))


def grow_the_tokenizer(source: Path) -> None:
    document = json.loads((source / "tokenizer.json").read_text())
    document["model"]["vocab"]["surplus"] = 300
    (source / "tokenizer.json").write_text(json.dumps(document))


def split_into_words(source: Path) -> None:
    change_json(source / "tokenizer.json", decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})


def lose_the_tokenizer(source: Path) -> None:
    (source / "tokenizer.json").unlink()
    change_json(source / "tokenizer_config.json", tokenizer_class="LlamaTokenizer", backend=None)


def never_end(source: Path) -> None:
    # Written as null: without the key, the architecture's own default would count.
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"eos_token_id": None}))
    (source / "generation_config.json").write_text("{}")
    change_json(source / "tokenizer_config.json", eos_token=None)


YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}
MAPPED = {"AutoModelForCausalLM": "modeling_mine.Mine"}
REFUSALS: dict[str, tuple[Damage, str]] = {
    "an unknown architecture": (
        config(architectures=["BloomForCausalLM"], model_type="bloom"),
        "the architecture BloomForCausalLM is not supported; language models of these architectures are: .*Llama",
    ),
    "no architecture": (
        config(architectures=[]),
        r"^config\.json names no architectures; causal language models, sequence classifiers and text encoders can be",
    ),
    "code of its own": (config(auto_map=MAPPED), r"asks for code of its own \(auto_map\)"),
    "a contradiction": (config(model_type="mistral"), "LlamaForCausalLM has the model_type 'llama', not 'mistral'"),
    "quantized weights": (config(quantization_config={"quant_method": "gptq"}), "quantized already"),
    "no width": (config(hidden_size=0), "hidden_size must be a whole number from 1 to"),
    "a width in words": (config(hidden_size="wide"), "hidden_size"),
    "heads that do not divide": (config(num_attention_heads=3), "number of attention heads"),
    "groups that do not divide": (config(num_key_value_heads=3), "2 attention heads cannot share 3 key-value heads"),
    "heads too small": (config(num_attention_heads=4, head_dim=8), "each attention head has 8 values"),
    "absurdly many layers": (config(num_hidden_layers=10**9), "num_hidden_layers must be a whole number from 1 to"),
    "more layers than weights": (config(num_hidden_layers=500), "promises 500 layers; the weights hold 21 tensors"),
    "one layer more": (config(num_hidden_layers=3), "the weights lack model.layers.2.self_attn.q_proj.weight"),
    "an endless context": (config(max_position_embeddings=10**12), "max_position_embeddings must be a whole number"),
    "another vocabulary": (config(vocab_size=301), r"promises model.embed_tokens.weight the shape \(301, 32\)"),
    "an unknown activation": (config(hidden_act="tanhish"), "config.json does not fit its architecture"),
    "stretched positions": (config(rope_parameters=YARN), "rotary positions of the kind 'yarn' is not supported"),
    "a missing tensor": (weights(model__norm__weight=None), "the weights lack model.norm.weight"),
    "a tensor of another shape": (weights(model__norm__weight=torch.ones(31)), r"model.norm.weight the shape \(32,\)"),
    "half a file": (cut, "model.safetensors is damaged"),
    "a lost part": (lose_a_part, "model-2.safetensors, which model.safetensors.index.json names, is missing"),
    "a part elsewhere": (reach_outside, "names '../other/model.safetensors', which is no safetensors file beside it"),
    "a larger tokenizer": (grow_the_tokenizer, "has the token id 300, and the model has only 300"),
    "a tokenizer of words": (split_into_words, "tokenizer.json decodes with WordPiece"),
    "no tokenizer": (lose_the_tokenizer, "no tokenizer.json, and none could be made"),
    "no end": (never_end, "no token ends a text: set eos_token_id"),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_cannot_be_converted_is_refused_in_one_sentence(fault: str, tmp_path: Path) -> None:
    damage, words = REFUSALS[fault]
    source = write_model("llama", tmp_path / "source")
    damage(source)

    with pytest.raises(Refused, match=words) as refused:
        convert(source, tmp_path / "work")

    message = str(refused.value)
    assert "\n" not in message
    assert str(tmp_path) not in message
    assert not (tmp_path / "work/model").exists()


def test_an_unsupported_architecture_names_those_that_are(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    change_json(source / "config.json", architectures=["OPTForCausalLM"], model_type="opt")

    with pytest.raises(UnsupportedSource) as refused:
        convert(source, tmp_path / "work")

    assert refused.value.details["architecture"] == "OPTForCausalLM"
    assert "GPT2LMHeadModel" in refused.value.details["supported"]  # type: ignore[operator]


def test_gpt2_with_cross_attention_is_refused(tmp_path: Path) -> None:
    source = write_model("gpt2", tmp_path / "source", add_cross_attention=True)

    with pytest.raises(UnsupportedSource, match="cross-attention"):
        convert(source, tmp_path / "work")


def test_gpt2_with_another_activation_is_refused(tmp_path: Path) -> None:
    source = write_model("gpt2", tmp_path / "source", activation_function="silu")

    with pytest.raises(UnsupportedSource, match="the activation 'silu' is not supported"):
        convert(source, tmp_path / "work")


def test_a_model_that_predicts_no_numbers_is_told_from_a_bad_conversion(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    change_weights(source, model__norm__weight=torch.full((32,), float("nan")))

    with pytest.raises(OutOfTolerance, match="the source model itself predicts numbers that are not finite"):
        convert(source, tmp_path / "work")


def test_a_tokenizer_that_is_no_json_is_refused(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    (source / "tokenizer.json").write_text("{")

    with pytest.raises(Refused, match=r"tokenizer\.json is not JSON"):
        convert(source, tmp_path / "work")
    assert tokenizer().get_vocab_size() == 300
