"""Hugging Face language models become graphs that answer as they do."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from converters.checks.decoder import Decoder
from converters.contract import Facts
from converters.recipe import Lacking
from tests.converters.conversions import checks, convert, model_file
from tests.converters.tiny_language_models import CONTEXT, END, MODELS, VOCABULARY, change_json, tokenizer, write_model


@pytest.mark.parametrize("name", MODELS)
def test_each_architecture_predicts_what_torch_predicts(name: str, tmp_path: Path) -> None:
    converted = convert(write_model(name, tmp_path / "source"), tmp_path / "work")

    found = checks(converted)
    assert found["max_difference"] < 1e-4
    assert found["incremental_difference"] < 1e-4
    assert found["top1_agreement"] == 1.0
    assert found["perplexity_ratio"] == pytest.approx(1, abs=1e-4)
    assert {check["samples"] >= 100 for check in converted.record["checks"][1:4]} == {True}


@pytest.mark.parametrize("name", ["gpt2", "llama-tied", "mistral-window"])
def test_a_text_continues_with_the_tokens_that_torch_chooses(name: str, tmp_path: Path) -> None:
    source = write_model(name, tmp_path / "source")
    prompt = np.array(tokenizer().encode("Return the next").ids, np.int64)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    expected = model.generate(torch.from_numpy(prompt[None]), max_new_tokens=48, do_sample=False, eos_token_id=None)

    decoder = Decoder(model_file(convert(source, tmp_path / "work")).parent)
    text = prompt
    for _ in range(48):
        text = np.append(text, decoder.logits(text)[-1].argmax())

    assert text.tolist() == expected[0].tolist()


def test_what_is_made_says_what_a_server_must_know(tmp_path: Path) -> None:
    source = write_model("qwen2", tmp_path / "source")

    converted = convert(source, tmp_path / "work")

    version = model_file(converted).parent
    assert sorted(path.name for path in version.iterdir()) == ["generation.json", "model.onnx", "tokenizer.json"]
    assert json.loads((version / "generation.json").read_text()) == {
        "context_length": CONTEXT,
        "eos_token_ids": [0],
        "bos_token_id": 0,
        "vocab_size": VOCABULARY,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "head_size": 16,
    }
    weights = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_pretrained(source).parameters())
    assert converted.facts == Facts("transformer", ("text_generation",), weights, "float32", CONTEXT)
    assert (Path(converted.directory) / "source/model.safetensors").is_file()


def test_the_tokens_that_end_a_text_come_from_the_generation_config_first(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source", eos_token_id=7)
    GenerationConfig(eos_token_id=[3, 5]).save_pretrained(source)

    converted = convert(source, tmp_path / "work")

    assert json.loads(model_file(converted, "generation.json").read_text())["eos_token_ids"] == [3, 5]


def test_ids_beyond_the_vocabulary_give_way_to_the_tokenizers_own(tmp_path: Path) -> None:
    source = write_model("gpt2", tmp_path / "source", eos_token_id=50256, bos_token_id=50256)

    converted = convert(source, tmp_path / "work")

    facts = json.loads(model_file(converted, "generation.json").read_text())
    assert (facts["eos_token_ids"], facts["bos_token_id"]) == ([0], 0)


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json", "tokenizer_config.json, named"])
def test_the_chat_template_travels_along(place: str, tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    template = "{{ messages[0]['content'] }}"
    if place == "chat_template.jinja":
        (source / place).write_text(template)
    else:
        named = [{"name": "tools", "template": "other"}, {"name": "default", "template": template}]
        change_json(source / "tokenizer_config.json", chat_template=named if "named" in place else template)

    converted = convert(source, tmp_path / "work")

    assert model_file(converted, "chat_template.jinja").read_text() == template


def test_a_tokenizer_of_older_files_becomes_a_tokenizer_json(tmp_path: Path) -> None:
    source = write_model("gpt2", tmp_path / "source")
    tokenizer().model.save(str(source))
    (source / "tokenizer.json").unlink()
    change_json(source / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", backend=None)
    text = "Return the next item, or 'None'."
    expected = AutoTokenizer.from_pretrained(source)(text)["input_ids"]

    converted = convert(source, tmp_path / "work")

    made = tokenizer().from_file(str(model_file(converted, "tokenizer.json")))
    assert made.encode(text).ids == expected == tokenizer().encode(text).ids


def test_an_added_token_without_a_row_in_the_model_is_left_out(tmp_path: Path) -> None:
    source = write_model("gemma3", tmp_path / "source")
    file = source / "tokenizer.json"
    added = json.loads(file.read_text())["added_tokens"]
    change_json(file, added_tokens=[*added, {**added[0], "id": VOCABULARY, "content": "<image>"}])

    converted = convert(source, tmp_path / "work")

    made = tokenizer().from_file(str(model_file(converted, "tokenizer.json")))
    assert made.get_vocab_size() == VOCABULARY
    assert END in made.get_vocab()


def test_weights_in_several_files_are_read_together(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    model = AutoModelForCausalLM.from_pretrained(source)
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="50KB")
    assert len(list(source.glob("model-*.safetensors"))) > 1

    assert checks(convert(source, tmp_path / "work"))["max_difference"] < 1e-4


@pytest.mark.parametrize("name", ["gemma", "gpt2"])
def test_half_precision_weights_lose_nothing_in_fp32(name: str, tmp_path: Path) -> None:
    source = write_model(name, tmp_path / "source", torch.bfloat16)

    assert checks(convert(source, tmp_path / "work"))["max_difference"] < 1e-4


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_fp16_runs_on_the_cpu(name: str, tmp_path: Path) -> None:
    converted = convert(write_model(name, tmp_path / "source"), tmp_path / "work", precision="fp16")

    assert converted.facts.dtype == "float16"
    assert checks(converted)["top1_agreement"] > 0.95
    assert checks(converted)["incremental_difference"] < 0.01


def test_bf16_is_refused_since_the_cpu_cannot_run_it(tmp_path: Path) -> None:
    with pytest.raises(Lacking, match="no bf16 matrix multiplication for the CPU"):
        convert(write_model("llama", tmp_path / "source"), tmp_path / "work", precision="bf16")


def test_a_longrope_model_keeps_to_the_context_in_which_its_positions_agree(tmp_path: Path) -> None:
    converted = convert(write_model("phi3-long", tmp_path / "source"), tmp_path / "work")

    assert converted.facts.context_length == 64


def test_a_graph_does_not_tell_the_repository_that_it_was_made_in(tmp_path: Path) -> None:
    converted = convert(write_model("llama", tmp_path / "source"), tmp_path / "work")

    assert onnx.load(model_file(converted)).producer_version == version("onnxruntime-genai")


def test_pickled_weights_beside_the_safetensors_are_not_opened(tmp_path: Path) -> None:
    source = write_model("llama", tmp_path / "source")
    shutil.copyfile(source / "model.safetensors", source / "pytorch_model.bin")
    (source / "model.safetensors").rename(source / "model-00001-of-00001.safetensors")
    weights = {"lm_head.weight": "model-00001-of-00001.safetensors"}
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))

    assert checks(convert(source, tmp_path / "work"))["max_difference"] < 1e-4
