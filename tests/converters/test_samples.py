"""Requests to measure a model with: of the length that was asked for, each other, and in the served model's form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.contract import Failed, Sampled, SampleRequest, from_line, sample_command
from converters.recipe import Refused
from converters.samples import requests
from converters.samples.requests import write_sample
from converters.text_files import open_tokenizer
from tests.converters.graphs import perceptron, rows, write_graph
from tests.converters.tiny_language_models import CONTEXT

ROOT = Path(__file__).parents[2]
EMBEDDER = ROOT / "tests/fixtures/tiny_text_encoders/embedding/1"
SHIPPED = ROOT / "model_repository/stdlib-coder/1"


def sampled(model: Path, folder: Path, *numbers: int, data: str | None = None) -> list[list[dict[str, Any]]]:
    """`numbers`: count, rows, length."""
    file = write_sample(SampleRequest(str(model), *numbers, data), folder).file
    found: list[list[dict[str, Any]]] = json.loads(Path(file).read_text("utf-8"))["requests"]
    return found


def lengths(model: Path, found: list[list[dict[str, Any]]]) -> list[int]:
    tokenizer = open_tokenizer(model)
    return [len(tokenizer.encode(text).ids) for (one,) in found for text in one["data"]]


@pytest.mark.parametrize("length", [1, 7, 64])
def test_prompts_have_the_length_that_was_asked_for(length: int, language_graph: Path, tmp_path: Path) -> None:
    found = sampled(language_graph, tmp_path, 5, 1, length)

    assert lengths(language_graph, found) == [length] * 5
    assert [(one["name"], one["datatype"], one["shape"]) for (one,) in found] == [("text_input", "BYTES", [1])] * 5
    if length > 1:
        assert len({one["data"][0] for (one,) in found}) == 5


def test_the_shipped_model_gets_prompts_of_its_own_tokens(tmp_path: Path) -> None:
    assert lengths(SHIPPED, sampled(SHIPPED, tmp_path, 8, 1, 32)) == [32] * 8


def test_a_prompt_leaves_room_for_an_answer(language_graph: Path, tmp_path: Path) -> None:
    assert lengths(language_graph, sampled(language_graph, tmp_path, 2, 1, 4096)) == [CONTEXT - 32] * 2


def test_texts_of_an_encoder_count_special_tokens_and_end_at_its_limit(tmp_path: Path) -> None:
    limit = json.loads((EMBEDDER / "encoder.json").read_text())["max_tokens"]
    found = sampled(EMBEDDER, tmp_path, 3, 4, 12)
    assert lengths(EMBEDDER, found) == [12] * 12
    assert [one["shape"] for (one,) in found] == [[4, 1]] * 3
    assert lengths(EMBEDDER, sampled(EMBEDDER, tmp_path, 1, 2, 10_000)) == [limit] * 2


def test_texts_come_from_the_file_that_was_given(language_graph: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"text": "aaaa bbbb"}\n{"text": "cccc dddd"}\n')
    found = sampled(language_graph, tmp_path, 2, 1, 40, data=str(data))
    assert set("".join(one["data"][0] for (one,) in found)) == set("abcd ")


def test_tensors_have_the_rows_and_sizes_that_were_asked_for(tmp_path: Path) -> None:
    graph = write_graph(
        tmp_path / "g",
        "g (float[batch, n, 3] x, int64[batch, n] mask) => (float[batch, n, 3] y, int64[batch, n] z) "
        "{ y = Relu(x) z = Identity(mask) }",
    )
    first, second = sampled(graph, tmp_path, 2, 4, 5)
    assert [(one["name"], one["datatype"], one["shape"]) for one in first] == [
        ("x", "FP32", [4, 5, 3]),
        ("mask", "INT64", [4, 5]),
    ]
    assert len(first[0]["data"]) == 60
    assert first[0]["data"] != second[0]["data"]
    assert first[1]["data"] == [1] * 20


def test_a_graph_without_a_free_first_axis_keeps_its_own_shape(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "g", "g (float[2, n] x) => (float[2, n] y) { y = Relu(x) }")
    ((one,),) = sampled(graph, tmp_path, 1, 8, 5)
    assert one["shape"] == [2, 5]


def test_rows_of_a_file_are_taken_in_turn(tmp_path: Path) -> None:
    x = np.arange(3 * 16, dtype=np.float32).reshape(3, 16)
    data = rows(tmp_path / "data.npz", x=x, label=np.zeros(3, np.int64))
    found = sampled(perceptron(tmp_path / "mlp"), tmp_path, 2, 2, 1, data=data)
    assert [one["data"] for (one,) in found] == [x[[0, 1]].ravel().tolist(), x[[2, 0]].ravel().tolist()]


@pytest.mark.parametrize(("number", "name"), [(0, "count"), (1, "rows"), (2, "length")])
@pytest.mark.parametrize("value", [0, -3, "many", 1.5])
def test_numbers_that_are_none_are_refused(number: int, name: str, value: Any, tmp_path: Path) -> None:
    numbers: list[Any] = [1, 1, 8]
    numbers[number] = value
    with pytest.raises(Refused, match=f"{name} of a sample must be a whole number above 0"):
        write_sample(SampleRequest(str(EMBEDDER), *numbers), tmp_path)


def test_what_is_too_large_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = write_graph(tmp_path / "g", "g (float[batch, n] x) => (float[batch, n] y) { y = Relu(x) }")
    with pytest.raises(Refused, match="the requests are over 64 MiB; ask for fewer rows or a shorter length"):
        sampled(graph, tmp_path, 10, 1_000, 1_000_000)

    monkeypatch.setattr(requests, "_JSON_BYTES_MAX", 2**20)
    with pytest.raises(Refused, match="the requests are over 1 MiB"):
        sampled(graph, tmp_path, 10, 10, 1_500)


def test_strings_are_refused_where_there_are_no_examples(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "g", "g (string[n] x) => (string[n] y) { y = Identity(x) }")
    with pytest.raises(Refused, match="the input 'x' is BYTES"):
        sampled(graph, tmp_path, 1, 1, 1)


def test_the_command_answers_with_one_event(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"model": str(EMBEDDER), "count": 1, "rows": 1, "length": 8}))
    assert command(job) == Sampled(str(tmp_path / "sample.json"))
    job.write_text(json.dumps({"model": str(tmp_path / "gone"), "count": 1, "rows": 1, "length": 8}))
    assert command(job) == Failed("a model to measure is given as the folder of its graph")
    job.write_text("{}")
    answer = command(job)
    assert isinstance(answer, Failed)
    assert answer.message.startswith("not a sample request")


def command(job: Path) -> object:
    done = subprocess.run(
        sample_command(sys.executable, job), env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    (line,) = done.stdout.splitlines()
    return from_line(line)
