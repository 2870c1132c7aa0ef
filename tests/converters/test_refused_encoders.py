"""What cannot be converted faithfully is refused in one sentence that its owner can act on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from converters.recipe import Refused, UnsupportedSource
from tests.converters.conversions import convert
from tests.converters.tiny_encoders import HIDDEN, change, save_classifier, save_encoder, save_sentence_encoder, write

MEAN = {"pooling_mode_mean_tokens": True}
Spoil = Callable[[Path], Any]


def drop_weight(name: str) -> Spoil:
    def drop(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        del weights[name]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return drop


def cut(name: str) -> Spoil:
    def shorten(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return shorten


def setting(file: str, **fields: Any) -> Spoil:
    return lambda folder: change(folder / file, **fields)


def file(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content)


def without(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


ENCODERS: list[tuple[Spoil, str]] = [
    (setting("config.json", auto_map={"AutoModel": "modeling.Mine"}), "brings code of its own"),
    (setting("tokenizer_config.json", auto_map={"AutoTokenizer": ["t.Mine", None]}), "brings code of its own"),
    (setting("config.json", model_type="funnel"), "family 'funnel' cannot be converted; these can: albert, bert"),
    (setting("config.json", quantization_config={"quant_method": "gptq"}), "quantized already"),
    (setting("config.json", transformers_weights="../other.safetensors"), "names another weights file"),
    (setting("config.json", hidden_size=64), r"not those of config.json: embeddings.* is \[32\], not \[64\]"),
    (setting("config.json", hidden_size="many"), "cannot be opened: .*hidden_size"),
    (setting("config.json", vocab_size=50), r"word_embeddings.weight is \[400, 32\], not \[50, 32\]"),
    (setting("config.json", num_hidden_layers=3), "the weights are not complete: encoder.layer.2"),
    (drop_weight("encoder.layer.0.output.dense.weight"), "not complete: encoder.layer.0.output.dense.weight"),
    (cut("model.safetensors"), "the weights cannot be opened"),
    (file("model.safetensors", "junk" * 100), "the weights cannot be opened"),
    (file("adapter_config.json", "{}"), "adapter of another model"),
    (cut("tokenizer.json"), "the tokenizer cannot be opened"),
    (file("tokenizer.json", '{"model": 1}'), "the tokenizer cannot be opened"),
    (file("tokenizer_config.json", "[]"), "tokenizer_config.json must be a JSON object"),
    (without("tokenizer.json"), "the model has no tokenizer: there is none of tokenizer.json, vocab.txt"),
    (setting("tokenizer_config.json", model_max_length=2), "at most 2 tokens, and a text of one word needs 3"),
]
SENTENCE_ENCODERS: list[tuple[Spoil, str]] = [
    (cut("modules.json"), "modules.json must be a list"),
    (file("modules.json", '{"idx": 0}'), "modules.json must be a list"),
    (file("modules.json", "[]"), "must begin with a Transformer and a Pooling"),
    (cut("1_Pooling/config.json"), "config.json is not JSON"),
    (setting("1_Pooling/config.json", pooling_mode="median"), "pooling .*median.* is not known; these are: cls, max"),
    (file("config_sentence_transformers.json", '{"default_prompt_name": "query"}'), "puts the prompt 'query' before"),
    (setting("sentence_bert_config.json", max_seq_length="long"), "max_seq_length must be a whole number"),
]


@pytest.mark.parametrize(("spoil", "sentence"), ENCODERS)
def test_a_spoilt_encoder_is_refused(spoil: Spoil, sentence: str, tmp_path: Path) -> None:
    source = save_encoder(tmp_path / "source")
    spoil(source)

    with pytest.raises(Refused, match=sentence) as refused:
        convert(source, tmp_path / "work")

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("spoil", "sentence"), SENTENCE_ENCODERS)
def test_a_spoilt_sentence_encoder_is_refused(spoil: Spoil, sentence: str, tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN)
    spoil(source)

    with pytest.raises(Refused, match=sentence):
        convert(source, tmp_path / "work")


@pytest.mark.parametrize(
    "kind",
    [
        "sentence_transformers.models.CLIPModel",
        "sentence_transformers.models.WordEmbeddings",
        "sentence_transformers.base.modules.router.Router",
        "my_package.Pooling",
    ],
)
def test_a_module_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN)
    write(source / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": kind}])

    with pytest.raises(UnsupportedSource, match=f"module '{kind}', which is not converted"):
        convert(source, tmp_path / "work")


def test_a_module_outside_the_directory_is_refused(tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN)
    entry = {"idx": 0, "name": "0", "path": "../elsewhere", "type": "sentence_transformers.models.Transformer"}
    write(source / "modules.json", [entry])

    with pytest.raises(Refused, match="leads out of the directory"):
        convert(source, tmp_path / "work")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"in_features": HIDDEN, "out_features": 8, "activation_function": "os.system"}, "activation 'os.system'"),
        ({"in_features": HIDDEN, "out_features": 8, "use_residual": True}, "with a residual connection"),
        ({"in_features": HIDDEN, "out_features": 8, "module_input_name": "token_embeddings"}, "of 'token_embeddings'"),
        ({"in_features": 16, "out_features": 8}, "weights of a Dense for 32 dimensions"),
    ],
)
def test_a_dense_layer_that_would_be_computed_otherwise_is_refused(
    config: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN, ("Dense", config))

    with pytest.raises(Refused, match=sentence):
        convert(source, tmp_path / "work")


def test_a_dense_layer_with_pickled_weights_is_refused(tmp_path: Path) -> None:
    source = save_sentence_encoder(tmp_path / "source", MEAN, ("Dense", {"in_features": HIDDEN, "out_features": 8}))
    (source / "2_Dense/model.safetensors").rename(source / "2_Dense/pytorch_model.bin")

    with pytest.raises(Refused, match="pickled weights are not opened"):
        convert(source, tmp_path / "work")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (setting("config.json", problem_type="regression"), "the model is a regression"),
        (setting("config.json", sentence_transformers={"version": "5.0.0"}), "cross-encoder, which scores pairs"),
        (drop_weight("classifier.weight"), "the weights are not complete: classifier.weight"),
        (drop_weight("bert.pooler.dense.weight"), "the weights are not complete: bert.pooler.dense.weight"),
        (setting("config.json", id2label={str(number): "x" for number in range(5)}), r"classifier.* is \[2.* not \[5"),
    ],
)
def test_a_classifier_whose_answer_would_be_invented_is_refused(spoil: Spoil, sentence: str, tmp_path: Path) -> None:
    source = save_classifier(tmp_path / "source")
    spoil(source)

    with pytest.raises(Refused, match=sentence):
        convert(source, tmp_path / "work")
