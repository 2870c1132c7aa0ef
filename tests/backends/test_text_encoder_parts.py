"""What the text encoder does with a batch and with a broken model, without Triton: the real graph and tokenizer."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.conftest import ONE_THREAD, PROJECT
from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.sessions import sequential_options
from triton_backends.text_encoder.batches import by_length
from triton_backends.text_encoder.encoder_files import EncoderFacts, read_encoder
from triton_backends.text_encoder.graph import EncoderGraph
from triton_backends.text_encoder.model import TritonPythonModel
from triton_backends.text_encoder.tokenization import TextTokenizer
from triton_backends.text_encoder.work import Encoder, Piece

FIXTURES = PROJECT / "tests" / "fixtures" / "tiny_text_encoders"
FACTS: dict[str, Any] = {"task": "embedding", "max_tokens": 32, "pad_token_id": 0, "dimensions": 16, "labels": None}
CONFIG: dict[str, Any] = {
    "max_batch_size": 64,
    "input": [{"name": "text_input"}],
    "output": [{"name": "embedding"}],
}
TEXTS = ["the quick brown fox", "", "good", "a server answers many requests at once", "fox " * 20, "bad film"]


@dataclass(eq=False)
class Asked:
    """A request as Triton's stub gives it, whose caller may have left."""

    texts: list[str]
    has_left: bool = False

    def parameters(self) -> str:
        return ""

    def inputs(self) -> list[Asked]:
        return [self]

    def name(self) -> str:
        return "text_input"

    def as_numpy(self) -> np.ndarray:
        return np.array([text.encode() for text in self.texts], object).reshape(-1, 1)

    def is_cancelled(self) -> bool:
        return self.has_left


def encoder(max_batch_tokens: int = 4096, facts: EncoderFacts | None = None, tokenizer_json: str = "") -> Encoder:
    version = FIXTURES / "embedding" / "1"
    facts = facts or read_encoder(version)
    tokenizer = TextTokenizer(tokenizer_json or (version / "tokenizer.json").read_text(), facts)
    # Each look at the clock is a second later: callers are asked for before every run.
    clock = map(float, itertools.count()).__next__
    return Encoder(
        tokenizer, EncoderGraph(version / "model.onnx", facts, sequential_options(ONE_THREAD)), max_batch_tokens, clock
    )


def encoded(one: Encoder, *requests: Asked) -> list[Piece]:
    pieces = [Piece.read(request) for request in requests]  # type: ignore[arg-type]
    one.encode(pieces)
    return pieces


def test_however_small_the_batches_the_answers_are_the_same() -> None:
    (together,) = encoded(encoder(), Asked(TEXTS))
    (apart,) = encoded(encoder(max_batch_tokens=1), Asked(TEXTS))
    np.testing.assert_allclose(apart.outputs["embedding"], together.outputs["embedding"], rtol=1e-4, atol=1e-5)
    assert len({tuple(row.round(3)) for row in together.outputs["embedding"]}) == len(TEXTS)


def test_a_caller_who_left_is_not_worked_for_and_others_are() -> None:
    left, stays = encoded(encoder(), Asked(["good", "bad"], has_left=True), Asked(["good"]))
    assert (left.failure, left.outputs) == (("the caller left", "CANCELLED"), {})
    assert stays.failure is None
    assert stays.outputs["embedding"].shape == (1, 16)


def test_a_text_that_the_graph_cannot_read_fails_its_request_alone() -> None:
    tokenizer = json.loads((FIXTURES / "embedding" / "1" / "tokenizer.json").read_text())
    # A token beyond the graph's embedding, as a tokenizer of another model has.
    tokenizer["model"]["vocab"]["wonderful"] = 999
    one = encoder(tokenizer_json=json.dumps(tokenizer))
    bad, good = encoded(one, Asked(["good", "wonderful"]), Asked(["good"]))
    assert bad.failure is not None
    assert bad.failure[1] == "INTERNAL"
    assert "index = 999" in bad.failure[0]
    assert good.failure is None
    assert good.outputs["embedding"].shape == (1, 16)


def test_a_text_that_the_tokenizer_cannot_read_fails_its_request_alone() -> None:
    tokenizer = json.loads((FIXTURES / "embedding" / "1" / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "[NOT THERE]"
    bad, good = encoded(encoder(tokenizer_json=json.dumps(tokenizer)), Asked(["good", "€"]), Asked(["good"]))
    assert bad.failure is not None
    assert bad.failure[1] == "INVALID_ARG"
    assert "text_input cannot be tokenized" in bad.failure[0]
    assert good.failure is None
    assert good.outputs["embedding"].shape == (1, 16)


def test_an_empty_text_has_a_row_even_without_special_tokens() -> None:
    tokenizer = json.loads((FIXTURES / "embedding" / "1" / "tokenizer.json").read_text())
    bare = encoder(tokenizer_json=json.dumps({**tokenizer, "post_processor": None}))
    (piece,) = encoded(bare, Asked(["", "good"]))
    assert piece.failure is None
    assert np.isfinite(piece.outputs["embedding"]).all()


def test_a_request_without_texts_is_refused() -> None:
    (piece,) = encoded(encoder(), Asked([]))
    assert piece.failure == ("text_input holds no text; send one a row, BYTES[rows, 1]", "INVALID_ARG")


def load(version: Path, config: dict[str, Any]) -> None:
    arguments = {"model_config": json.dumps(config), "model_version": version.name}
    TritonPythonModel().initialize({**arguments, "model_repository": str(version.parent)})


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / "embedding" / "1", tmp_path / "1"))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([], "encoder.json must have exactly the keys"),
        ({key: FACTS[key] for key in FACTS if key != "labels"}, "see ['labels']"),
        ({**FACTS, "pooling": "mean"}, "see ['pooling']"),
        ({**FACTS, "task": "poetry"}, "task must be one of ['classification', 'embedding'], got 'poetry'"),
        ({**FACTS, "max_tokens": 0}, "max_tokens must be a whole number of at least 1, got 0"),
        ({**FACTS, "pad_token_id": True}, "pad_token_id must be a whole number of at least 0, got True"),
        ({**FACTS, "labels": ["a"]}, "labels must be null for an embedding"),
        ({**FACTS, "task": "classification", "labels": ["a"]}, "labels must be a list of 16 texts"),
        ({**FACTS, "dimensions": 17}, "output 'embedding' has shape [2, 16] for 2 texts; encoder.json says 17"),
        ({**FACTS, "max_tokens": 2}, "max_tokens must be more than the 2 special tokens"),
    ],
)
def test_facts_that_do_not_fit_are_refused_when_the_model_is_loaded(version: Path, facts: Any, reason: str) -> None:
    (version / "encoder.json").write_text(json.dumps(facts))
    with pytest.raises(BrokenModel, match=re.escape(reason)):
        load(version, CONFIG)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"max_batch_size": 0}, "a max_batch_size of 1 or more"),
        ({"input": [{"name": "text"}]}, "the one input 'text_input', not ['text']"),
        ({"output": [{"name": "label"}]}, "names output 'label'; for embedding there are ['embedding']"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(version: Path, changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(BrokenModel, match=re.escape(reason)):
        load(version, {**CONFIG, **changed})


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        (
            "model.onnx",
            FIXTURES / "classification/1/model.onnx",
            "must give 'embedding' as tensor(float) for embedding",
        ),
        ("model.onnx", PROJECT / "tests/fixtures/mlp/model.onnx", "must take input_ids, attention_mask"),
        ("tokenizer.json", FIXTURES / "embedding/1/encoder.json", "tokenizer.json cannot be read"),
    ],
)
def test_a_file_of_another_model_is_refused(version: Path, file: str, source: Path, reason: str) -> None:
    shutil.copy(source, version / file)
    with pytest.raises(BrokenModel, match=re.escape(reason)):
        load(version, CONFIG)


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"),
    [
        ([], 100, []),
        ([5, 90, 6, 100], 1000, [[3, 1], [2, 0]]),  # short ones are not filled up to long ones
        ([10, 10, 10, 10, 10], 20, [[0, 1], [2, 3], [4]]),
        ([50, 7], 20, [[0], [1]]),  # too long for a batch: alone
        ([30, 1], 1000, [[0, 1]]),  # as much filling as a run of its own would cost
    ],
)
def test_texts_run_with_those_of_about_their_length(lengths: list[int], limit: int, expected: list[list[int]]) -> None:
    assert by_length(lengths, limit) == expected
