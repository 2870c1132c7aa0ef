"""Many texts on one engine, without Triton: the real engine on the tiny model, replies collected in memory."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.backends.conftest import ONE_THREAD, PROJECT
from triton_backends.runtime.decoupled import QueueFull
from triton_backends.runtime.parameters import InvalidParameter
from triton_backends.runtime.sessions import sequential_options
from triton_backends.text_generation.detokenizer import token_bytes
from triton_backends.text_generation.engines.interface import Engine, Failed, Produced, Sequence
from triton_backends.text_generation.engines.onnxruntime_graph import DecoderGraph
from triton_backends.text_generation.engines.onnxruntime_slots import PREFILL_CHUNK, SlotEngine
from triton_backends.text_generation.generation import Generation, Vocabulary
from triton_backends.text_generation.grammar import Grammars
from triton_backends.text_generation.model_files import read_facts
from triton_backends.text_generation.options import GenerationOptions
from triton_backends.text_generation.sampling import new_samplers
from triton_backends.text_generation.scheduler import Scheduler

FOLDER = PROJECT / "tests" / "fixtures" / "tiny_text_model" / "1"
FACTS = read_facts(FOLDER)
TOKENIZER_JSON = (FOLDER / "tokenizer.json").read_text()
# Without an end token texts have the length they were asked for.
ENDLESS = Vocabulary(token_bytes(TOKENIZER_JSON), frozenset())
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["value", "queue"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "count"],
    "additionalProperties": False,
}


@dataclass(eq=False)
class CollectedReply:
    """What one caller received."""

    cancelled: bool = False
    responses: list[dict[str, list[Any]]] = field(default_factory=list)
    error: tuple[str, str] | None = None
    ended: bool = False

    def send(self, tensors: Any, *, final: bool) -> None:
        assert not self.ended
        self.responses.append({name: array.tolist() for name, array in tensors.items()})
        self.ended = final

    def fail(self, message: str, code: str) -> None:
        assert not self.ended
        self.error, self.ended = (message, code), True

    def finish(self) -> None:
        assert not self.ended
        self.ended = True

    def token_ids(self, candidate: int = 0) -> list[int]:
        mine = [response for response in self.responses if response["candidate"] == [candidate]]
        return [token_id for response in mine for token_id in response["token_id"]]

    def text(self, candidate: int = 0) -> str:
        mine = [response for response in self.responses if response["candidate"] == [candidate]]
        return b"".join(piece for response in mine for piece in response["text_output"]).decode()


def make_engine(slots: int = 8) -> SlotEngine:
    graph = DecoderGraph(FOLDER / "model.onnx", FACTS, rows=slots, options=sequential_options(ONE_THREAD))
    return SlotEngine(graph, FACTS)


@pytest.fixture
def scheduler() -> Scheduler:
    """Not started: the tests take its steps."""
    return Scheduler(make_engine(), queue=64)


def submit(scheduler: Scheduler, prompt: list[int], vocabulary: Vocabulary = ENDLESS, **options: Any) -> CollectedReply:
    reply = CollectedReply()
    chosen = GenerationOptions(**options)
    generation = Generation(chosen, vocabulary, reply)
    tokens = np.array(prompt, np.int64)
    constraints: list[Any] = [None] * chosen.n
    if chosen.grammar:
        compiled = Grammars(TOKENIZER_JSON, FACTS.vocab_size, FACTS.eos_token_ids).compile(chosen.grammar)
        constraints = [compiled.copy() for _ in range(chosen.n)]
    for sampler in new_samplers(chosen, constraints):
        generation.add(Sequence(tokens, sampler))
    scheduler.submit(generation)
    return reply


def run(scheduler: Scheduler, *replies: CollectedReply, steps: int = 2000) -> None:
    for _ in range(steps):
        if all(reply.ended for reply in replies):
            return
        scheduler.run_once()
    raise AssertionError("the texts did not end")


def random_prompt(random: np.random.Generator, longest: int = 150) -> list[int]:
    return random.integers(1, FACTS.vocab_size, int(random.integers(1, longest))).tolist()


def test_a_stream_has_one_response_a_token_and_its_reason_in_the_last(scheduler: Scheduler) -> None:
    reply = submit(scheduler, [5, 6, 7], max_tokens=12, seed=1)
    run(scheduler, reply)
    assert [response["index"] for response in reply.responses] == [[i] for i in range(12)]
    assert [response["finish_reason"] for response in reply.responses] == [[b""]] * 11 + [[b"length"]]
    assert all(0 < response["probability"][0] <= 1 for response in reply.responses)
    assert all("top_logprobs" not in response for response in reply.responses)


def test_a_whole_answer_is_the_stream_joined(scheduler: Scheduler) -> None:
    streamed = submit(scheduler, [5, 6, 7], max_tokens=20, seed=3)
    whole = submit(scheduler, [5, 6, 7], max_tokens=20, seed=3, stream=False)
    run(scheduler, streamed, whole)
    assert len(whole.responses) == 1
    answer = whole.responses[0]
    assert answer["index"] == list(range(20))
    assert answer["finish_reason"] == [b"length"]
    for name in ("text_output", "token_id", "probability"):
        assert answer[name] == [response[name][0] for response in streamed.responses]


def test_a_text_is_the_same_alone_and_among_seven_random_others() -> None:
    random = np.random.default_rng(11)
    prompt = random_prompt(random)
    alone = Scheduler(make_engine(), queue=0)
    options: dict[str, Any] = {"max_tokens": 25, "seed": 42, "temperature": 0.9, "logprobs": 3}
    expected = submit(alone, prompt, **options)
    run(alone, expected)
    crowded = Scheduler(make_engine(), queue=64)
    for _ in range(50):
        place = int(random.integers(0, 8))
        replies = []
        for position in range(8):
            if position == place:
                replies.append(submit(crowded, prompt, **options))
            else:
                replies.append(submit(crowded, random_prompt(random), max_tokens=int(random.integers(1, 40))))
            for _ in range(int(random.integers(0, 4))):
                crowded.run_once()
        run(crowded, *replies)
        assert replies[place].responses == expected.responses


def test_a_text_is_the_same_when_every_step_runs_all_rows() -> None:
    padded = Scheduler(make_engine(), queue=0)
    engine = padded.engine
    assert isinstance(engine, SlotEngine)
    exact = submit(padded, [9, 8, 7], max_tokens=20, seed=1)
    run(padded, exact)
    engine.decodes_all_rows = True
    again = submit(padded, [9, 8, 7], max_tokens=20, seed=1)
    padded.run_once()
    # Its prompt is read in chunks while the first text goes on in all rows.
    long_prompt = list(range(1, 1 + PREFILL_CHUNK + 60))
    beside = submit(padded, long_prompt, max_tokens=10, seed=2)
    run(padded, again, beside)
    engine.decodes_all_rows = False
    long_alone = submit(padded, long_prompt, max_tokens=10, seed=2)
    run(padded, long_alone)
    assert again.responses == exact.responses
    assert beside.responses == long_alone.responses


def test_a_long_prompt_does_not_stall_the_others(scheduler: Scheduler) -> None:
    first = submit(scheduler, [1, 2], max_tokens=30, seed=1)
    scheduler.run_once()
    submit(scheduler, list(range(1, 201)), max_tokens=2)
    scheduler.run_once()
    assert len(first.responses) == 2


def test_candidates_share_a_prompt_and_differ(scheduler: Scheduler) -> None:
    reply = submit(scheduler, [5, 6, 7], max_tokens=8, seed=3, n=3, temperature=1.5)
    single = submit(scheduler, [5, 6, 7], max_tokens=8, seed=3, temperature=1.5)
    run(scheduler, reply, single)
    texts = [reply.token_ids(candidate) for candidate in range(3)]
    assert [len(text) for text in texts] == [8, 8, 8]
    assert len({tuple(text) for text in texts}) == 3
    assert texts[0] == single.token_ids()


def test_a_candidate_reads_from_its_siblings_cache_what_it_would_have_read_itself(scheduler: Scheduler) -> None:
    prompt = list(range(1, 1 + PREFILL_CHUNK + 20))
    options: dict[str, Any] = {"max_tokens": 8, "seed": 3, "n": 3}
    together = submit(scheduler, prompt, **options)
    run(scheduler, together)
    one_by_one = Scheduler(make_engine(slots=1), queue=4)
    apart = submit(one_by_one, prompt, **options)
    run(one_by_one, apart)
    for candidate in range(3):
        assert together.token_ids(candidate) == apart.token_ids(candidate)


def test_the_end_token_ends_a_text_with_no_piece_of_its_own(scheduler: Scheduler) -> None:
    probe = submit(scheduler, [5, 6, 7], max_tokens=10, seed=3)
    run(scheduler, probe)
    third = probe.token_ids()[2]
    ends = Vocabulary(ENDLESS.token_bytes, frozenset([third]))
    reply = submit(scheduler, [5, 6, 7], ends, max_tokens=10, seed=3)
    run(scheduler, reply)
    last = reply.responses[-1]
    assert reply.token_ids() == probe.token_ids()[:3]
    assert last["finish_reason"] == [b"stop"]
    assert last["probability"] == probe.responses[2]["probability"]
    assert last["text_output"] == [b""] or last["text_output"] == ["\ufffd".encode()]


def test_a_stop_sequence_ends_a_text_before_it(scheduler: Scheduler) -> None:
    probe = submit(scheduler, [5, 6, 7], max_tokens=40, seed=3)
    run(scheduler, probe)
    text = probe.text()
    stop = text[10:13]
    reply = submit(scheduler, [5, 6, 7], max_tokens=40, seed=3, stop=(stop,))
    run(scheduler, reply)
    assert reply.text() == text[: text.index(stop)]
    assert reply.responses[-1]["finish_reason"] == [b"stop"]


def test_a_full_context_ends_a_text(scheduler: Scheduler) -> None:
    reply = submit(scheduler, list(range(1, 251)), max_tokens=100)
    run(scheduler, reply)
    assert len(reply.responses) == FACTS.context_length - 250
    assert reply.responses[-1]["finish_reason"] == [b"length"]


def test_top_logprobs_hold_the_chosen_token_when_greedy(scheduler: Scheduler) -> None:
    reply = submit(scheduler, [5, 6], max_tokens=5, temperature=0, logprobs=4)
    run(scheduler, reply)
    for response in reply.responses:
        top = json.loads(response["top_logprobs"][0])
        assert len(top) == 4
        assert top[0]["token_id"] == response["token_id"][0]
        assert np.exp(top[0]["logprob"]) == pytest.approx(response["probability"][0], rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_json_schema_is_followed_to_its_end(scheduler: Scheduler, seed: int) -> None:
    reply = submit(scheduler, [5, 6], max_tokens=100, seed=seed, temperature=1.5, grammar=json.dumps(SCHEMA))
    run(scheduler, reply)
    answer = json.loads(reply.text())
    assert answer["name"] in ("value", "queue")
    assert 0 <= answer["count"] <= 99
    assert reply.responses[-1]["finish_reason"] == [b"stop"]


@pytest.mark.parametrize("expression", ["[0-9]{3}-x", "(a|b)/c{2}", "é+ü"])
def test_a_regular_expression_is_followed(scheduler: Scheduler, expression: str) -> None:
    reply = submit(scheduler, [5, 6], max_tokens=60, seed=1, grammar=expression, n=2)
    run(scheduler, reply)
    for candidate in range(2):
        assert re.fullmatch(expression, reply.text(candidate))


@pytest.mark.parametrize("grammar", ["([", '{"type": ', '{"type": "nothing"}'])
def test_a_grammar_that_cannot_be_followed_is_refused(grammar: str) -> None:
    with pytest.raises(InvalidParameter, match="grammar"):
        Grammars(TOKENIZER_JSON, FACTS.vocab_size, FACTS.eos_token_ids).compile(grammar)


def test_a_full_queue_refuses_and_takes_again_later() -> None:
    small = Scheduler(make_engine(slots=2), queue=1)
    replies = [submit(small, [1, 2], max_tokens=3) for _ in range(3)]
    with pytest.raises(QueueFull, match="Exceeds maximum queue size"):
        submit(small, [1, 2])
    run(small, *replies)
    assert all(len(reply.responses) == 3 for reply in replies)
    submit(small, [1, 2], n=3)


def test_a_cancelled_text_frees_its_slot_at_the_next_step() -> None:
    small = Scheduler(make_engine(slots=1), queue=4)
    first = submit(small, [1, 2], max_tokens=200, n=2)
    second = submit(small, [3], max_tokens=2)
    for _ in range(3):
        small.run_once()
    received = len(first.responses)
    first.cancelled = True
    run(small, second)
    assert first.ended
    assert len(first.responses) == received
    assert small.counters.cancelled == 1
    assert small.counters.tokens == received + 2


def test_all_slots_leave_and_enter_at_random_times() -> None:
    random = np.random.default_rng(5)
    busy = Scheduler(make_engine(slots=4), queue=100)
    replies = [submit(busy, random_prompt(random), max_tokens=int(random.integers(1, 20))) for _ in range(40)]
    for step in range(2000):
        busy.run_once()
        if step % 5 == 0:
            replies[int(random.integers(0, 40))].cancelled = True
        if all(reply.ended for reply in replies):
            break
    assert all(reply.ended for reply in replies)
    assert (busy.counters.busy, busy.counters.waiting) == (0, 0)


class BrokenEngine:
    """Fails as it is told to."""

    slots, context_length = 2, 100

    def __init__(self) -> None:
        self.running: list[Sequence] = []
        self.raises: Exception | None = RuntimeError("out of memory")

    def submit(self, sequence: Sequence) -> None:
        self.running.append(sequence)

    def step(self) -> list[Produced | Failed]:
        if self.raises:
            raise self.raises
        return [Failed(self.running[0], "no such token")]

    def cancel(self, sequence: Sequence) -> None:
        self.running.remove(sequence)


def test_a_failing_engine_fails_the_requests_and_the_loop_goes_on() -> None:
    engine: Engine = BrokenEngine()
    broken = Scheduler(engine, queue=4)
    first, second = submit(broken, [1]), submit(broken, [1], n=2)
    broken.run_once()
    assert first.error == second.error == ("text generation failed: out of memory", "INTERNAL")
    engine.raises = None  # type: ignore[attr-defined]
    third, fourth = submit(broken, [1]), submit(broken, [1])
    broken.run_once()
    assert third.error == ("no such token", "INTERNAL")
    assert not fourth.ended


@pytest.fixture
def started() -> Iterator[Scheduler]:
    one = Scheduler(make_engine(), queue=4)
    one.start()
    yield one
    one.close()


def test_unloading_ends_the_texts_under_way_with_an_error(started: Scheduler) -> None:
    reply = submit(started, [1, 2], max_tokens=4096, n=8)
    started.close()
    assert reply.ended
    assert reply.error == ("the model is being unloaded", "UNAVAILABLE")


def test_the_thread_takes_its_steps_only_while_there_is_work(started: Scheduler) -> None:
    reply = submit(started, [1, 2], max_tokens=5)
    deadline_s = time.monotonic() + 10
    while not reply.ended and time.monotonic() < deadline_s:
        time.sleep(0.01)
    steps = started.counters.steps
    time.sleep(0.1)
    assert reply.ended
    assert started.counters.steps == steps
