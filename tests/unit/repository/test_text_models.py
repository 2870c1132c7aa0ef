"""A text model is refused for what its backend would stumble over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, LoadOptions, ModelKind, Signature, TensorSpec
from control_plane.ports import OnnxModel
from tests.doubles.inspector import MLP, KnownInspector
from tests.unit.repository.directories import ONNX, Workshop, write_directory

CONFIG = """
backend: "text_generation"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] } ]
"""
FACTS: dict[str, Any] = {
    "context_length": 256,
    "eos_token_ids": [0],
    "bos_token_id": None,
    "vocab_size": 353,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "head_size": 16,
}


def decoder(layers: int = 2, vocab_size: int = 353) -> OnnxModel:
    caches = [TensorSpec(f"past_key_values.{layer}.key", "FP32", (-1, 2, -1, 16)) for layer in range(layers)]
    inputs = (TensorSpec("input_ids", "INT64", (-1, -1)), *caches)
    outputs = (TensorSpec("logits", "FP32", (-1, -1, vocab_size)),)
    return OnnxModel(Signature(inputs, outputs), 126_338, "int8", 22)


def text_directory(root: Path, facts: object = FACTS, config: str = CONFIG) -> Path:
    files = {"1/model.onnx": ONNX, "1/tokenizer.json": '{"model": {}}', "1/generation.json": json.dumps(facts)}
    return write_directory(root, {**files, "config.pbtxt": config})


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop.open(tmp_path / "state", KnownInspector(decoder()))


async def test_a_text_model_is_described_from_its_files(workshop: Workshop, tmp_path: Path) -> None:
    revision = await workshop.publish(text_directory(tmp_path / "m"), model="coder")

    assert revision.generates_text
    assert revision.description == Description(ModelKind.TRANSFORMER, ("text_generation",), 126_338, "int8", 256)


async def test_a_text_model_in_a_zip_or_beside_other_files_keeps_them(workshop: Workshop, tmp_path: Path) -> None:
    beside = {"README.md": "x", "evaluation.jsonl": '{"text": "def f():"}\n'}
    source = write_directory(text_directory(tmp_path / "m"), {"source/model.safetensors": b"x", **beside})

    revision = await workshop.publish(source)

    assert {"source/model.safetensors", *beside} <= {artifact.path for artifact in revision.artifacts}


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ([], "must be a JSON object"),
        ({**FACTS, "context_length": 0}, "'context_length' must be a number above 0"),
        ({**FACTS, "head_size": None}, "'head_size' must be"),
        ({**FACTS, "vocab_size": True}, "'vocab_size' must be"),
        ({**FACTS, "eos_token_ids": []}, "'eos_token_ids' must be a list"),
        ({**FACTS, "eos_token_ids": ["</s>"]}, "'eos_token_ids' must be a list"),
        ({**FACTS, "bos_token_id": -1}, "'bos_token_id' must be"),
        ({**FACTS, "num_hidden_layers": 3}, r"has no input 'past_key_values\.2\.key'"),
        ({**FACTS, "num_hidden_layers": 1}, r"has more layers than the 1 of generation\.json"),
        ({**FACTS, "vocab_size": 9}, "no 'logits' over the 9 tokens"),
    ],
)
async def test_facts_that_do_not_fit_the_graph_are_refused(
    workshop: Workshop, tmp_path: Path, facts: object, sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        await workshop.publish(text_directory(tmp_path / "m", facts))
    assert workshop.is_untouched()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (CONFIG.replace("true", "false"), "decoupled: true"),
        (CONFIG.replace("size: 0", "size: 4"), "batches by itself"),
        (CONFIG + "dynamic_batching {}", "batches by itself"),
        (CONFIG.replace("text_input", "prompt"), "one input, 'text_input'"),
        (CONFIG.replace("text_output", "answer"), "has the output 'text_output'"),
    ],
)
async def test_a_configuration_that_the_backend_cannot_serve_is_refused(
    workshop: Workshop, tmp_path: Path, config: str, sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        await workshop.publish(text_directory(tmp_path / "m", config=config))


@pytest.mark.parametrize("path", ["1/model.onnx", "1/tokenizer.json", "1/generation.json"])
async def test_a_missing_file_is_named(workshop: Workshop, tmp_path: Path, path: str) -> None:
    source = text_directory(tmp_path / "m")
    (source / path).unlink()

    with pytest.raises(InvalidRequest, match="must hold model.onnx" if "onnx" in path else path):
        await workshop.publish(source)


def no_json(source: Path) -> None:
    (source / "1/tokenizer.json").write_text("{")


def no_tokenizer(source: Path) -> None:
    (source / "1/tokenizer.json").write_text("{}")


def another_context(source: Path) -> None:
    (source / "tritonplane.json").write_text('{"context_length": 4096}')


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (no_json, r"tokenizer\.json is not JSON"),
        (no_tokenizer, "is no Hugging Face tokenizer"),
        (another_context, r"says context_length 4096, 1/generation\.json says 256"),
    ],
)
async def test_files_that_contradict_each_other_are_refused(
    workshop: Workshop, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    source = text_directory(tmp_path / "m")
    damage(source)

    with pytest.raises(InvalidRequest, match=sentence):
        await workshop.publish(source)


async def test_a_graph_that_is_no_decoder_is_refused(tmp_path: Path) -> None:
    workshop = Workshop.open(tmp_path / "state", KnownInspector(MLP))

    with pytest.raises(InvalidRequest, match="has no input 'input_ids'"):
        await workshop.publish(text_directory(tmp_path / "m"))


@pytest.mark.parametrize("changes", [LoadOptions(max_batch_size=4), LoadOptions(queue_delay_us=10)])
async def test_a_text_model_batches_by_itself(workshop: Workshop, tmp_path: Path, changes: LoadOptions) -> None:
    base = await workshop.publish(text_directory(tmp_path / "m"), model="coder")

    with pytest.raises(InvalidRequest, match="batches its requests by itself") as caught:
        await workshop.repository.derive(base, 2, changes, "key_1")
    assert caught.value.details["field"] in ("max_batch_size", "dynamic_batching_delay_us")
