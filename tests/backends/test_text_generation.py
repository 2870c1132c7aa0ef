"""Text generation through a real Triton."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from tritonclient.utils import InferenceServerException

from tests.backends.conftest import PROJECT, RunningTriton
from tests.backends.streams import TritonStream, opened, text_tensor

MODEL = "tiny"
FOLDER = PROJECT / "tests" / "fixtures" / "tiny_text_model"
CONTEXT = 256


@pytest.fixture(scope="module")
def server(triton_server: RunningTriton) -> RunningTriton:
    shutil.copytree(FOLDER, triton_server.repository / MODEL)
    triton_server.load(MODEL)
    return triton_server


class Stream(TritonStream):
    """With one text on it."""

    def send(self, text: bytes, model: str = MODEL, **parameters: Any) -> Stream:
        self.ask(model, [text_tensor(text)], parameters)
        return self

    def add(self, text: bytes, model: str = MODEL, **parameters: Any) -> None:
        """Another request on the same stream."""
        self.ask_more(model, [text_tensor(text)], parameters)


@pytest.fixture
def streams(server: RunningTriton) -> Iterator[list[Stream]]:
    with opened(Stream, server.address, 12) as streams:
        yield streams


def text_of(responses: list[dict[str, list[Any]]]) -> bytes:
    return b"".join(piece for response in responses for piece in response["text_output"])


def test_a_stream_has_one_response_a_token_and_the_last_is_the_final_one(streams: list[Stream]) -> None:
    responses = streams[0].send(b"def main", max_tokens=10, seed=1, temperature=0.5, logprobs=2).all()
    assert [response["index"] for response in responses] == [[i] for i in range(10)]
    assert [response["finish_reason"] for response in responses] == [[b""]] * 9 + [[b"length"]]
    assert set(responses[0]) == {
        "text_output", "token_id", "probability", "top_logprobs", "finish_reason", "index", "candidate",
    }  # fmt: skip


def test_a_whole_answer_is_the_stream_joined(streams: list[Stream]) -> None:
    streamed = streams[0].send(b"def main", max_tokens=30, seed=7).all()
    whole = streams[1].send(b"def main", max_tokens=30, seed=7, stream=False).all()
    assert len(whole) == 1
    assert text_of(whole) == text_of(streamed)
    assert whole[0]["probability"] == [response["probability"][0] for response in streamed]
    assert whole[0]["finish_reason"] == [b"length"]


def test_streams_run_side_by_side(streams: list[Stream]) -> None:
    for stream in streams[:2]:
        stream.send(b"class", max_tokens=200, n=2)
    first_arrivals = [stream.next()[0]["index"] for stream in streams[:2]]
    assert first_arrivals == [[0], [0]]
    assert all(stream.all()[-1]["finish_reason"] != [b""] for stream in streams[:2])


def test_the_same_seed_gives_the_same_text_in_a_crowd(streams: list[Stream]) -> None:
    alone = streams[0].send(b"import ", max_tokens=40, seed=5, temperature=1.2).all()
    for position, stream in enumerate(streams[1:8]):
        stream.send(b"def " * (position + 1), max_tokens=60)
    assert streams[8].send(b"import ", max_tokens=40, seed=5, temperature=1.2).all() == alone
    for stream in streams[1:8]:
        stream.all()


def test_numbers_are_taken_however_they_are_typed(streams: list[Stream]) -> None:
    typed = streams[0].send(b"x", max_tokens=5, temperature=0, top_p=0.5, seed=3).all()
    as_text = streams[1].send(b"x", max_tokens="5", temperature="0", top_p="0.5", seed="3").all()
    assert typed == as_text


@pytest.mark.parametrize(
    ("text", "parameters", "reason"),
    [
        (b"x", {"max_tokens": 0}, "max_tokens must be an integer from 1 to 4096, got 0"),
        (b"x", {"temperature": 2.5}, "temperature must be a number from 0 to 2, got 2.5"),
        (b"x", {"beams": 2}, "unknown parameter 'beams'"),
        (b"x", {"grammar": "(["}, "grammar is neither a JSON schema nor a regular expression"),
        (b"\xff", {}, "text_input is not UTF-8"),
        (b"x" * CONTEXT, {}, f"the prompt has {CONTEXT} tokens; the model's context length is {CONTEXT} tokens"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    streams: list[Stream], text: bytes, parameters: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        streams[0].send(text, **parameters).all()
    assert reason in refused.value.message()


def test_a_huge_prompt_is_refused_without_counting_its_tokens(streams: list[Stream]) -> None:
    started_s = time.monotonic()
    with pytest.raises(InferenceServerException, match=r"the prompt has at least [0-9]+ tokens"):
        streams[0].send(b"def x " * 2_600_000).all()
    assert time.monotonic() - started_s < 5  # counted, they take half a minute


def test_an_empty_prompt_starts_a_text(streams: list[Stream]) -> None:
    assert len(streams[0].send(b"", max_tokens=3, seed=1).all()) <= 3


def test_stop_sequences_and_json_arrive_as_parameters(streams: list[Stream]) -> None:
    grammar = '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}'
    closed = grammar[:-1] + ', "additionalProperties": false}'
    assert text_of(streams[0].send(b"x", grammar=closed, seed=1).all()) in (b'{"ok": true}', b'{"ok": false}')
    stopped = streams[1].send(b"x", grammar=closed, seed=1, stop='[":"]').all()
    assert text_of(stopped) == b'{"ok"'
    assert stopped[-1]["finish_reason"] == [b"stop"]


def measured(server: RunningTriton, name: str, model: str) -> float:
    with urlopen(server.metrics_url) as page:
        found = re.search(rf'^{name}{{model="{model}",version="1"}} (\S+)$', page.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def until(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture(scope="module")
def narrow(server: RunningTriton) -> str:
    """A model with one slot and fifteen places to wait."""
    folder = server.repository / "narrow"
    shutil.copytree(FOLDER, folder)
    config = folder / "config.pbtxt"
    slots = config.read_text().replace('string_value: "8"', 'string_value: "1"')
    config.write_text(slots.replace('string_value: "64"', 'string_value: "15"'))
    server.load("narrow")
    return "narrow"


# Eight texts to the end of the context, in one slot one after another: far longer than a test looks at them.
ENDLESS = {"max_tokens": 4096, "grammar": "[a-z]{2000}", "n": 8}


def test_a_full_queue_refuses_and_cancelling_stops_the_work(
    server: RunningTriton, streams: list[Stream], narrow: str
) -> None:
    running, waiting, refused, later = streams[:4]
    running.send(b"x", narrow, **ENDLESS).next()  # two connections keep no order: the other would answer first
    waiting.send(b"x", narrow, **ENDLESS)
    until(lambda: measured(server, "text_generation_waiting", narrow) >= 8)
    with pytest.raises(InferenceServerException, match="Exceeds maximum queue size"):
        refused.send(b"x", narrow, n=8).all()
    for stream in (running, waiting):
        stream.client.stop_stream(cancel_requests=True)
    until(lambda: measured(server, "text_generation_cancelled", narrow) == 2)
    until(lambda: not measured(server, "text_generation_busy", narrow))
    assert later.send(b"x", narrow, max_tokens=2).all()
    assert measured(server, "text_generation_tokens", narrow) < 16 * (CONTEXT - 1)


def test_a_text_is_cancelled_by_another_request_and_both_end(
    server: RunningTriton, streams: list[Stream], narrow: str
) -> None:
    cancelled = measured(server, "text_generation_cancelled", narrow)
    tokens = measured(server, "text_generation_tokens", narrow)
    streams[0].send(b"x", narrow, cancel_id="mine", **ENDLESS).next()
    streams[0].add(b"", narrow, cancel="mine")
    for _ in range(2):
        while streams[0].next() != ({}, True):
            pass
    until(lambda: measured(server, "text_generation_cancelled", narrow) == cancelled + 1)
    assert measured(server, "text_generation_tokens", narrow) < tokens + 8 * (CONTEXT - 1)


def test_a_cancel_of_nobody_changes_nothing(streams: list[Stream]) -> None:
    streams[0].send(b"class", max_tokens=50, grammar="[a-z]{2000}", cancel_id="mine")
    streams[0].add(b"", cancel="another's")
    streams[0].add(b"", cancel="")
    answers = [streams[0].next() for _ in range(52)]
    assert sum(tensors != {} for tensors, _ in answers) == 50
    assert sum(is_final for _, is_final in answers) == 3


@pytest.mark.parametrize(
    ("file_name", "content", "reason"),
    [
        ("model.onnx", "not a graph", "model.onnx cannot be opened"),
        ("generation.json", '{"context_length": 5}', "generation.json must have exactly the keys"),
        ("generation.json", "{", "generation.json is not JSON"),
        ("tokenizer.json", "{", "tokenizer.json cannot be read"),
    ],
)
def test_a_broken_model_is_refused_with_the_file_that_is_wrong(
    server: RunningTriton, file_name: str, content: str, reason: str
) -> None:
    folder = server.repository / f"broken_{abs(hash((file_name, content)))}"
    shutil.copytree(FOLDER, folder)
    (folder / "1" / file_name).write_text(content)
    with pytest.raises(InferenceServerException, match=reason):
        server.load(folder.name)
