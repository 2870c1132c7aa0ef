"""A candidate beside the baseline, on a Triton whose models take exactly as long as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from control_plane.domain.errors import DomainError, EngineCrashed, EngineFailed, InvalidRequest, TimedOut, Unavailable
from control_plane.domain.optimization import Comparison
from control_plane.domain.tensors import Tensor, pack, text_tensor
from control_plane.ports import ScratchTriton
from control_plane.services.measuring import Bench, Pace, Served, Workload
from tests.doubles.scratch import InMemoryScratch, crashed
from tests.doubles.virtual_time import VirtualTimeLoop

Result = TypeVar("Result")
BASELINE, CANDIDATE = Served("baseline", 1000), Served("candidate", 250)
TENSORS = [(pack("X", "FP32", [2, 1], [value, value]),) for value in (1.0, 2.0, 3.0)]
UNEVEN_S = 0.03  # no window ends just when a request does
PROMPTS = [(text_tensor("text_input", text),) for text in ("one", "short", "three")]


def in_no_time(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


@pytest.fixture
def scratch(tmp_path: Path) -> InMemoryScratch:
    scratch = InMemoryScratch(tmp_path / "repository")
    scratch.put("baseline", 0.02)
    scratch.put("candidate", 0.01)
    return scratch


def bench_for(scratch: ScratchTriton, requests: Sequence[tuple[Tensor, ...]] = TENSORS) -> Bench:
    is_text = requests is PROMPTS
    workload = Workload(requests, 1 if is_text else 2, 4, is_text)
    return Bench(scratch, workload, now_s=lambda: asyncio.get_running_loop().time())


async def compared(
    scratch: InMemoryScratch, rounds: int = 8, requests: Sequence[tuple[Tensor, ...]] = TENSORS
) -> Comparison:
    bench = bench_for(scratch, requests)
    await bench.load("baseline")
    await bench.load("candidate")
    return await bench.compare(BASELINE, CANDIDATE, rounds, lambda fraction: None)


def test_half_the_time_is_a_speedup_of_two(scratch: InMemoryScratch) -> None:
    comparison = in_no_time(compared(scratch))
    assert comparison.speedup.value == pytest.approx(2)
    assert comparison.throughput_ratio.value == pytest.approx(2)
    assert comparison.baseline.latency_p50_s == pytest.approx(0.02)
    assert comparison.candidate.latency_p95_s == pytest.approx(0.01)


def test_throughput_counts_rows_at_the_concurrency_that_was_asked_for(scratch: InMemoryScratch) -> None:
    comparison = in_no_time(compared(scratch))
    # Four requests of two rows at a time, each 20 and 10 ms.
    assert comparison.baseline.throughput == pytest.approx(400)
    assert comparison.candidate.throughput == pytest.approx(800)
    assert comparison.baseline.concurrency == 4
    assert comparison.baseline.tokens_per_second is None


def test_each_side_has_its_size_and_its_memory(scratch: InMemoryScratch) -> None:
    scratch.pss |= {"baseline": 100, "candidate": 75}
    comparison = in_no_time(compared(scratch))
    assert comparison.memory_reduction == 0.25
    assert comparison.artifact_reduction == 0.75


def test_memory_that_cannot_be_told_is_unknown(scratch: InMemoryScratch) -> None:
    scratch.pss["candidate"] = None
    assert in_no_time(compared(scratch)).memory_reduction is None


@pytest.mark.parametrize(("delay_s", "rounds"), [(0.0005, 1), (0.001, 8), (0.1, 8), (0.1, 30), (0.8, 30), (0.8, 2)])
def test_there_are_never_fewer_than_20_samples_and_5_windows(
    scratch: InMemoryScratch, delay_s: float, rounds: int
) -> None:
    scratch.delays |= {"baseline": delay_s, "candidate": delay_s}
    comparison = in_no_time(compared(scratch, rounds))
    assert comparison.latency.samples >= 20
    assert len(comparison.latency.baseline) == len(comparison.latency.candidate) >= 5
    assert len(comparison.rate.baseline) == len(comparison.rate.candidate) >= 5
    assert {len(turn) for turn in (*comparison.latency.baseline, *comparison.latency.candidate)} == {
        comparison.latency.samples // len(comparison.latency.candidate)
    }


def test_fast_models_are_asked_oftener_and_slow_ones_no_oftener_than_needed(scratch: InMemoryScratch) -> None:
    samples = {}
    for delay_s in (0.001, 0.1, 0.8):
        scratch.delays |= {"baseline": delay_s, "candidate": delay_s}
        samples[delay_s] = in_no_time(compared(scratch, rounds=30)).latency.samples
    assert samples == {0.001: 300, 0.1: 90, 0.8: 20}


@pytest.mark.parametrize(("delay_s", "requests", "limit_s"), [(0.01, TENSORS, 6), (0.075, PROMPTS, 15)])
def test_a_search_has_time_for_it(
    scratch: InMemoryScratch, delay_s: float, requests: list[tuple[Tensor, ...]], limit_s: float
) -> None:
    scratch.delays |= {"baseline": delay_s, "candidate": delay_s}

    async def took_s() -> float:
        await compared(scratch, rounds=8, requests=requests)
        return asyncio.get_running_loop().time()

    assert in_no_time(took_s()) < limit_s


def test_the_sides_take_turns_and_which_is_first_alternates(scratch: InMemoryScratch) -> None:
    in_no_time(compared(scratch, rounds=6))
    turns = [one.directory for one in scratch.requests]
    order = [one for one, before in zip(turns, ["", *turns], strict=False) if one != before]
    # The first two are the warm-ups. A round that begins with the side that was last needs no change of sides.
    assert order == ["baseline", "candidate", *["baseline", "candidate"] * 3, "baseline"]


def test_both_sides_are_asked_the_same(scratch: InMemoryScratch) -> None:
    scratch.delays |= {"baseline": UNEVEN_S, "candidate": UNEVEN_S}
    in_no_time(compared(scratch))
    asked = {
        directory: [one.inputs for one in scratch.requests if one.directory == directory]
        for directory in ("baseline", "candidate")
    }
    assert asked["baseline"] == asked["candidate"]
    assert {inputs[0].raw for inputs in asked["baseline"]} == {request[0].raw for request in TENSORS}


def test_the_machine_has_a_rest_when_the_sides_change(scratch: InMemoryScratch) -> None:
    scratch.delays |= {"baseline": UNEVEN_S, "candidate": UNEVEN_S}

    async def took_s(pace: Pace) -> float:
        workload = Workload(TENSORS, 2, 4, is_text=False)
        bench = Bench(scratch, workload, pace, asyncio.get_running_loop().time)
        await bench.compare(BASELINE, CANDIDATE, 8, lambda fraction: None)
        return asyncio.get_running_loop().time()

    hurried, patient = (in_no_time(took_s(Pace(settle_s, 0.1))) for settle_s in (0.0, 0.5))
    assert patient - hurried == pytest.approx(8 * 0.5)


def test_progress_rises_to_one(scratch: InMemoryScratch) -> None:
    heard: list[float] = []
    in_no_time(bench_for(scratch).compare(BASELINE, CANDIDATE, 5, heard.append))
    assert heard == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_model_may_be_compared_with_itself(scratch: InMemoryScratch) -> None:
    comparison = in_no_time(bench_for(scratch).compare(BASELINE, BASELINE, 8, lambda fraction: None))
    assert comparison.speedup.value == pytest.approx(1)
    assert comparison.speedup.low_999 <= 1.0 + 1e-9


def test_text_is_measured_in_tokens_and_only_where_both_write_as_many(scratch: InMemoryScratch) -> None:
    comparison = in_no_time(compared(scratch, requests=PROMPTS))
    assert comparison.baseline.tokens_per_second == pytest.approx(16 / 0.02)
    assert comparison.candidate.tokens_per_second == pytest.approx(16 / 0.01)
    assert comparison.candidate.throughput == pytest.approx(4 * 16 / 0.01)
    short = [one for one in scratch.requests if one.inputs == PROMPTS[1]]
    assert len(short) <= 2 * 3  # in the warm-ups alone: once by itself, and in a burst of four


def test_text_models_whose_answers_end_early_cannot_be_compared(scratch: InMemoryScratch) -> None:
    scratch.tokens["candidate"] = 5
    with pytest.raises(EngineFailed, match="none of 3 prompts makes both models write 16 tokens"):
        in_no_time(compared(scratch, requests=PROMPTS))


def test_a_text_model_that_changes_its_mind_fails_the_comparison(scratch: InMemoryScratch) -> None:
    async def work() -> None:
        bench = bench_for(scratch, PROMPTS)
        await bench.load("baseline")
        await bench.load("candidate")
        scratch.tokens["candidate"] = 5
        await bench.compare(BASELINE, CANDIDATE, 8, lambda fraction: None)

    with pytest.raises(EngineFailed, match="answered with 5 tokens where it gave 16"):
        in_no_time(work())


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (EngineFailed("the model failed: out of memory"), EngineFailed, "the model failed: out of memory"),
        (TimedOut("'candidate' did not answer in time"), TimedOut, "did not answer in time"),
        (InvalidRequest("input 'X': no"), EngineFailed, "'candidate' failed while it was measured: input 'X': no"),
        (Unavailable("queue is full"), EngineFailed, "'candidate' failed while it was measured: queue is full"),
    ],
)
def test_one_failed_request_fails_the_comparison(
    scratch: InMemoryScratch, failure: DomainError, kind: type[DomainError], message: str
) -> None:
    scratch.failures["candidate"] = (20, failure)
    with pytest.raises(kind, match=message):
        in_no_time(compared(scratch))
    assert scratch.in_flight == 0


def test_a_failed_request_of_several_at_a_time_is_told_alone_and_stops_the_others(scratch: InMemoryScratch) -> None:
    # Three and four in the warm-up, four alone: the fifteenth is one of the first four of a window.
    scratch.failures["candidate"] = (14, EngineFailed("out of memory"))
    with pytest.raises(EngineFailed, match="out of memory"):
        in_no_time(compared(scratch, rounds=30))
    assert scratch.in_flight == 0


def test_a_model_that_cannot_be_loaded_says_why(scratch: InMemoryScratch) -> None:
    scratch.refusals["candidate"] = EngineFailed("model.onnx cannot be opened: no such operator")
    with pytest.raises(EngineFailed, match="no such operator"):
        in_no_time(bench_for(scratch).load("candidate"))


def test_a_model_that_fails_its_warm_up_says_so(scratch: InMemoryScratch) -> None:
    scratch.failures["candidate"] = (0, InvalidRequest("unexpected shape"))
    with pytest.raises(EngineFailed, match="'candidate' failed while it was warmed up: unexpected shape"):
        in_no_time(bench_for(scratch).load("candidate"))


def test_a_load_that_kills_the_server_is_told_when_it_is_back(scratch: InMemoryScratch) -> None:
    scratch.killers.add("candidate")

    async def work() -> None:
        bench = bench_for(scratch)
        with pytest.raises(EngineCrashed, match="Triton died while 'candidate' was loaded"):
            await bench.load("candidate")
        assert not scratch.is_down
        await bench.load("baseline")

    in_no_time(work())
    assert (scratch.deaths, scratch.loaded) == (1, {"baseline"})


def test_a_request_that_kills_the_server_is_told_too_and_the_baseline_is_loaded_again(
    scratch: InMemoryScratch,
) -> None:
    async def work() -> Comparison:
        bench = bench_for(scratch)
        await bench.load("baseline")
        await bench.load("candidate")
        scratch.killers.add("candidate")
        with pytest.raises(EngineCrashed, match="Triton died while 'candidate' was measured"):
            await bench.compare(BASELINE, CANDIDATE, 8, lambda fraction: None)
        return await bench.compare(BASELINE, BASELINE, 8, lambda fraction: None)

    assert in_no_time(work()).speedup.value == pytest.approx(1)
    assert scratch.loads == ["baseline", "candidate", "baseline"]


def test_a_death_that_is_counted_a_moment_later_is_still_a_death(scratch: InMemoryScratch) -> None:
    scratch.refusals["candidate"] = Unavailable("Triton does not answer")

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.5, scratch.die)
        await bench_for(scratch).load("candidate")

    with pytest.raises(EngineCrashed, match="Triton died while 'candidate' was loaded"):
        in_no_time(work())


def test_a_server_that_does_not_come_back_is_unavailable(scratch: InMemoryScratch) -> None:
    scratch.killers.add("candidate")
    scratch.is_lost = True
    with pytest.raises(Unavailable, match="cannot be started"):
        in_no_time(bench_for(scratch).load("candidate"))


def test_a_model_whose_process_dies_is_unloaded_so_that_it_can_be_loaded_anew(scratch: InMemoryScratch) -> None:
    scratch.failures["candidate"] = (20, crashed("candidate"))
    with pytest.raises(EngineCrashed, match="has died"):
        in_no_time(compared(scratch))
    assert scratch.loaded == {"baseline"}


def test_unload_lets_the_next_comparison_load_it(scratch: InMemoryScratch) -> None:
    async def work() -> None:
        bench = bench_for(scratch)
        await bench.load("candidate")
        await bench.unload("candidate")
        assert scratch.loaded == set()
        await bench.compare(BASELINE, CANDIDATE, 5, lambda fraction: None)

    in_no_time(work())
    assert scratch.loads == ["candidate", "baseline", "candidate"]


@pytest.mark.parametrize("after_s", [0.01, 0.3, 0.5, 1.03])
def test_it_can_be_cancelled_at_once(scratch: InMemoryScratch, after_s: float) -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(compared(scratch))
        await asyncio.sleep(after_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return loop.time()

    assert in_no_time(work()) == pytest.approx(after_s)
    assert scratch.in_flight == 0


@pytest.mark.parametrize(("requests", "concurrency"), [([], 1), (TENSORS, 0)])
def test_a_workload_of_nothing_is_refused(requests: list[tuple[Tensor, ...]], concurrency: int) -> None:
    with pytest.raises(ValueError, match="needs requests"):
        Workload(requests, 1, concurrency, is_text=False)
