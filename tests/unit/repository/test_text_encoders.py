"""Text directories without a configuration get one; what the text encoder would stumble over is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, LoadOptions, ModelKind, Signature, TensorSpec
from control_plane.gateways.repository.pbtxt import parse_config, render_config
from control_plane.ports import OnnxModel
from tests.doubles.inspector import MLP, KnownInspector
from tests.unit.repository.directories import ONNX, Workshop, write_directory

ROOT = Path(__file__).parents[3]
FACTS: dict[str, Any] = {"task": "embedding", "max_tokens": 256, "pad_token_id": 0, "dimensions": 384, "labels": None}
CLASSES: dict[str, Any] = {**FACTS, "task": "classification", "dimensions": 2, "labels": ["bad", "good"]}
EMBEDDING = TensorSpec("embedding", "FP32", (-1, 384))
CLASS_OUTPUTS = (TensorSpec("logits", "FP32", (-1, 2)), TensorSpec("probabilities", "FP32", (-1, 2)))
TEXT = TensorSpec("text_input", "BYTES", (-1, 1))
CONFIG = """
backend: "text_encoder"
max_batch_size: 8
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "embedding" data_type: TYPE_FP32 dims: [ 384 ] } ]
"""


def graph(*outputs: TensorSpec, types: bool = True) -> OnnxModel:
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    inputs = tuple(TensorSpec(name, "INT64", (-1, -1)) for name in names)
    return OnnxModel(Signature(inputs, outputs or (EMBEDDING,), max_batch_size=32), 22_713_216, "float32", 17)


def directory(root: Path, facts: object = FACTS, config: str | None = None) -> Path:
    files = {"1/model.onnx": ONNX, "1/tokenizer.json": '{"model": {}}', "1/encoder.json": json.dumps(facts)}
    return write_directory(root, {**files, **({"config.pbtxt": config} if config else {})})


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop.open(tmp_path / "state", KnownInspector(graph()))


async def test_an_embedder_without_a_configuration_gets_a_whole_one(workshop: Workshop, tmp_path: Path) -> None:
    revision = await workshop.publish(directory(tmp_path / "m"), model="minilm")

    assert (revision.backend, revision.device, revision.queue_delay_us) == ("text_encoder", "cpu", 0)
    assert revision.signature == Signature((TEXT,), (EMBEDDING,), max_batch_size=64)
    assert revision.description == Description(
        ModelKind.GENERIC, ("embedding",), parameters=22_713_216, dtype="float32", context_length=256
    )
    config = parse_config(workshop.config(revision).encode())
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "threads": "2",
        "max_batch_tokens": "4096",
    }


async def test_a_classifier_has_the_label_beside_what_its_graph_gives(tmp_path: Path) -> None:
    workshop = Workshop.open(tmp_path / "state", KnownInspector(graph(*CLASS_OUTPUTS, types=False)))

    revision = await workshop.publish(directory(tmp_path / "m", CLASSES), model="mood")

    assert revision.signature.outputs == (*CLASS_OUTPUTS, TensorSpec("label", "BYTES", (-1, 1)))
    assert revision.description.tasks == ("text_classification",)


async def test_a_text_model_without_a_configuration_gets_that_of_the_model_in_the_box(tmp_path: Path) -> None:
    box = ROOT / "model_repository" / "stdlib-coder"
    facts = json.loads((box / "1/generation.json").read_text())
    caches = [TensorSpec(f"past_key_values.{layer}.key", "FP32", (-1, 4, -1, 64)) for layer in range(5)]
    logits = TensorSpec("logits", "FP32", (-1, -1, facts["vocab_size"]))
    decoder = OnnxModel(Signature((TensorSpec("input_ids", "INT64", (-1, -1)), *caches), (logits,)), 1, "int8", 22)
    files = {"1/model.onnx": ONNX, "1/tokenizer.json": '{"model": {}}', "1/generation.json": json.dumps(facts)}
    workshop = Workshop.open(tmp_path / "state", KnownInspector(decoder))

    revision = await workshop.publish(write_directory(tmp_path / "m", files), model="coder")

    expected = parse_config((box / "config.pbtxt").read_bytes())
    expected.name = "coder--r1"
    assert workshop.config(revision).encode() == render_config(expected)
    assert (revision.generates_text, revision.description.context_length) == (True, facts["context_length"])


async def test_a_configuration_of_ones_own_is_kept(workshop: Workshop, tmp_path: Path) -> None:
    revision = await workshop.publish(directory(tmp_path / "m", config=CONFIG))

    assert revision.signature == Signature((TEXT,), (EMBEDDING,), max_batch_size=8)
    assert revision.queue_delay_us is None
    derived = await workshop.repository.derive(revision, 2, LoadOptions(max_batch_size=16, queue_delay_us=50), "key_1")
    assert (derived.signature.max_batch_size, derived.queue_delay_us) == (16, 50)
    with pytest.raises(InvalidRequest, match="a text_encoder model decides itself"):
        await workshop.repository.derive(revision, 3, LoadOptions(max_batch_size=0), "key_1")


async def test_what_an_import_says_of_itself_is_kept_and_completed(workshop: Workshop, tmp_path: Path) -> None:
    said = Description(tasks=("sentence_similarity",), labels={"level": "basic"})

    revision = await workshop.publish(directory(tmp_path / "m"), description=said)

    assert revision.description == Description(
        ModelKind.GENERIC, ("sentence_similarity",), 22_713_216, "float32", 256, labels={"level": "basic"}
    )
    with pytest.raises(InvalidRequest, match=r"says context_length 512, 1/encoder\.json says 256"):
        await workshop.publish(directory(tmp_path / "n"), number=2, description=Description(context_length=512))


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ([], "must be a JSON object"),
        ({key: FACTS[key] for key in FACTS if key != "labels"}, "must have exactly the keys"),
        ({**FACTS, "pooling": "mean"}, "see pooling"),
        ({**FACTS, "task": ["embedding"]}, "'task' must be one of ['classification', 'embedding']"),
        ({**FACTS, "max_tokens": 0}, "'max_tokens' must be a number above 0"),
        ({**FACTS, "dimensions": 2**40}, "'dimensions' must be a number above 0"),
        ({**FACTS, "pad_token_id": None}, "'pad_token_id' must be a token id"),
        ({**FACTS, "labels": ["a"]}, "'labels' must be null"),
        ({**CLASSES, "labels": ["good"]}, "'labels' must be a list of 2 texts"),
        ({**CLASSES, "labels": [0, 1]}, "'labels' must be a list of 2 texts"),
        (CLASSES, "model.onnx gives no 'logits', which an encoder for classification needs"),
        ({**FACTS, "dimensions": 385}, "output 'embedding' of model.onnx is FP32 [-1, 384]"),
    ],
)
async def test_facts_that_do_not_fit_are_refused(
    workshop: Workshop, tmp_path: Path, facts: object, sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(sentence)):
        await workshop.publish(directory(tmp_path / "m", facts))
    assert workshop.is_untouched()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (MLP, "model.onnx takes features; a text_encoder model takes input_ids, attention_mask"),
        (graph(TensorSpec("embedding", "FP16", (-1, 384))), "output 'embedding' of model.onnx is FP16 [-1, 384]"),
        (
            OnnxModel(
                Signature((TensorSpec("input_ids", "INT64", (1, -1)), *graph().signature.inputs[1:]), ()), 1, "", 17
            ),
            "input 'input_ids' of model.onnx is INT64 [1, -1]",
        ),
    ],
)
async def test_a_graph_that_is_no_encoder_is_refused(tmp_path: Path, model: OnnxModel, sentence: str) -> None:
    workshop = Workshop.open(tmp_path / "state", KnownInspector(model))

    with pytest.raises(InvalidRequest, match=re.escape(sentence)):
        await workshop.publish(directory(tmp_path / "m"))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (CONFIG.replace("size: 8", "size: 0"), "takes batches: say max_batch_size: 64"),
        (CONFIG + "model_transaction_policy { decoupled: true }", "answers each request once"),
        (CONFIG.replace("text_input", "prompt"), "has one input, 'text_input' of TYPE_STRING with dims: [ 1 ]"),
        (CONFIG.replace("[ 1 ]", "[ -1 ]"), "has one input, 'text_input' of TYPE_STRING with dims: [ 1 ]"),
        (CONFIG.replace('"embedding"', '"label"'), "the output 'label'; an encoder for embedding has embedding"),
        (CONFIG.replace("384", "12"), "config.pbtxt says FP32 [12], by 1/encoder.json it is FP32 [384]"),
    ],
)
async def test_a_configuration_that_the_backend_cannot_serve_is_refused(
    workshop: Workshop, tmp_path: Path, config: str, sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(sentence)):
        await workshop.publish(directory(tmp_path / "m", config=config))


# Without encoder.json and a configuration the directory is that of a bare graph.
@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("1/model.onnx", None),
        ("1/model.onnx", CONFIG),
        ("1/tokenizer.json", None),
        ("1/tokenizer.json", CONFIG),
        ("1/encoder.json", CONFIG),
    ],
)
async def test_a_missing_file_is_named(workshop: Workshop, tmp_path: Path, path: str, config: str | None) -> None:
    source = directory(tmp_path / "m", config=config)
    (source / path).unlink()

    with pytest.raises(InvalidRequest, match=re.escape(Path(path).name)):
        await workshop.publish(source)


async def test_a_directory_that_is_two_things_at_once_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(directory(tmp_path / "m"), {"1/generation.json": "{}"})

    with pytest.raises(InvalidRequest, match=re.escape("holds 1/encoder.json and 1/generation.json")):
        await workshop.publish(source)
