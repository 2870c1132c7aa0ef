"""Measuring a candidate beside the baseline: in turns, in the same scratch Triton, with the same requests."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from time import perf_counter

from control_plane.domain.errors import DomainError, EngineCrashed, EngineFailed, TimedOut, Unavailable
from control_plane.domain.optimization import Comparison, Serving
from control_plane.domain.statistics import Rounds, quantile, ratio_of_medians
from control_plane.ports import ScratchTriton
from control_plane.services.loading import UNLOAD_TIMEOUT_S
from control_plane.services.scratch_deaths import has_died
from control_plane.services.turns import Caller, Request, Workload

__all__ = ["Bench", "Pace", "Served", "Workload"]

LOAD_TIMEOUT_S = 300.0
SAMPLES_MIN = 20  # of each side (contract 0.4)
ROUNDS_MIN, SLOW_ROUNDS = 5, 10
SLOW_S = 0.5  # a request that takes longer is asked no oftener than it must be
_COUNTED_MIN, _COUNTED_MAX = 3, 10  # requests of one side in one round
_COUNTED_S = 0.05  # so long, if the maximum allows it, are those of a model whose requests take next to nothing


@dataclass(frozen=True, slots=True)
class Served:
    """A model directory of the scratch Triton. `size_bytes`: of the artifact files that Triton opens."""

    directory: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each part of a round takes at least. Units: seconds.

    `settle_s`: the pause when the sides change. The threads of an onnxruntime session look for work, and use whole
    cores, in 2^20 turns after a run: 40 to 60 ms of CPU time on an AMD EPYC with onnxruntime 1.31. Where a turn takes
    longer, the request that does not count waits with it.
    Source: onnxruntime, EigenNonBlockingThreadPool.h, WorkerLoop; docs, "Thread management".
    """

    settle_s: float = 0.08
    window_s: float = 0.2


@dataclass(frozen=True, slots=True)
class _Warm:
    """What is known of a model that has answered every request. `tokens`: of each answer. Units: seconds."""

    life: int
    request_s: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How many rounds there are, how many requests count in each, and in which throughput is measured: each nth."""

    rounds: int
    counted: int
    rate_each: int


@dataclass(slots=True)
class _Side:
    """What one of the two has done so far."""

    served: Served
    latency: list[tuple[float, ...]] = field(default_factory=list)
    rate: list[tuple[float, ...]] = field(default_factory=list)


class Bench:
    """Loads models into a scratch Triton and compares two of them.

    Raises: EngineFailed, EngineCrashed, TimedOut with the reason; Unavailable only where the server does not come back.
    """

    def __init__(
        self,
        scratch: ScratchTriton,
        workload: Workload,
        pace: Pace | None = None,
        now_s: Callable[[], float] = perf_counter,
    ) -> None:
        self._scratch, self._workload, self._pace, self._now_s = scratch, workload, pace or Pace(), now_s
        self._caller = Caller(lambda: scratch.triton, workload, now_s)
        self._warm: dict[str, _Warm] = {}

    async def load(self, directory: str) -> None:
        """Load and warm up. After EngineCrashed the server is ready again, with nothing loaded."""
        life = self._scratch.deaths
        self._warm.pop(directory, None)
        try:
            await self._scratch.control.load(directory, LOAD_TIMEOUT_S)
        except DomainError as error:
            raise await self._failure(directory, life, error, "was loaded") from error
        try:
            self._warm[directory] = await self._warmed_up(directory, life)
        except DomainError as error:
            raise await self._failure(directory, life, error, "was warmed up") from error

    async def unload(self, directory: str) -> None:
        self._warm.pop(directory, None)
        await self._scratch.control.unload(directory, UNLOAD_TIMEOUT_S)

    async def compare(
        self, baseline: Served, candidate: Served, rounds: int, report: Callable[[float], None]
    ) -> Comparison:
        """Both in turns, `rounds` times (fewer where a request takes long); which goes first changes every round.

        What is not loaded is loaded. `report` hears how much of it is done. One failed request fails all of it.
        """
        for served in (baseline, candidate):
            if not self._is_warm(served.directory):
                await self.load(served.directory)
        warm = [self._warm[served.directory] for served in (baseline, candidate)]
        requests = self._comparable(*warm)
        plan = _plan(rounds, max(one.request_s for one in warm))
        ours, theirs = _Side(candidate), _Side(baseline)
        for number in range(plan.rounds):
            # The side that was last begins the next round, so that the pause is needed only once in each.
            first, second = (theirs, ours) if number % 2 == 0 else (ours, theirs)
            await self._turn(first, requests, number, plan)
            await asyncio.sleep(self._pace.settle_s)
            await self._turn(second, requests, number, plan)
            report((number + 1) / plan.rounds)
        return Comparison(
            await self._serving(theirs),
            await self._serving(ours),
            Rounds(tuple(theirs.latency), tuple(ours.latency)),
            Rounds(tuple(theirs.rate), tuple(ours.rate)),
            # Off the loop too: thousands of resamplings take up to a tenth of a second.
            await asyncio.to_thread(ratio_of_medians, theirs.latency, ours.latency),
            await asyncio.to_thread(ratio_of_medians, ours.rate, theirs.rate),
        )

    async def _turn(self, side: _Side, requests: Sequence[Request], number: int, plan: _Plan) -> None:
        """One side's part of a round; the other side is asked the same."""
        directory, life = side.served.directory, self._scratch.deaths
        begin = number * plan.counted % len(requests)
        turn = cycle([*requests[begin:], *requests[:begin]])
        try:
            side.latency.append(await self._caller.latencies(directory, turn, plan.counted))
            if number % plan.rate_each == 0:
                side.rate.append((await self._caller.rate(directory, turn, self._pace.window_s),))
        except DomainError as error:
            raise await self._failure(directory, life, error, "was measured") from error

    async def _warmed_up(self, directory: str, life: int) -> _Warm:
        """Every request once alone, and then as many at a time as it will have to answer: it allocates for both."""
        took_s, tokens = [], []
        for request in self._workload.requests:
            begun_s = self._now_s()
            tokens.append(await self._caller.items(directory, request))
            took_s.append(self._now_s() - begun_s)
        await self._caller.rate(directory, cycle(self._workload.requests), 0.0)
        return _Warm(life, median(took_s), tuple(tokens))

    def _is_warm(self, directory: str) -> bool:
        warm = self._warm.get(directory)
        return warm is not None and warm.life == self._scratch.deaths

    def _comparable(self, baseline: _Warm, candidate: _Warm) -> list[Request]:
        """Of a text model only those whose answers are equally long, and as long as they may be."""
        workload = self._workload
        if not workload.is_text:
            return list(workload.requests)
        wanted = (workload.max_tokens, workload.max_tokens)
        lengths = zip(baseline.tokens, candidate.tokens, strict=True)
        kept = [one for one, tokens in zip(workload.requests, lengths, strict=True) if tokens == wanted]
        if not kept:
            raise EngineFailed(
                f"none of {len(workload.requests)} prompts makes both models write {workload.max_tokens} tokens; "
                "their times cannot be compared"
            )
        return kept

    async def _serving(self, side: _Side) -> Serving:
        seconds = [one for turn in side.latency for one in turn]
        p50_s = quantile(seconds, 0.5)
        return Serving(
            p50_s,
            quantile(seconds, 0.95),
            quantile([one for turn in side.rate for one in turn], 0.5),
            self._workload.concurrency,
            side.served.size_bytes,
            # Off the loop: the kernel walks all pages of a process to say it.
            await asyncio.to_thread(self._scratch.pss_bytes, side.served.directory),
            self._workload.max_tokens / p50_s if self._workload.is_text else None,
        )

    async def _failure(self, directory: str, life: int, error: DomainError, doing: str) -> DomainError:
        """What a failure means here, where nobody else can have caused it."""
        if await has_died(self._scratch, life, is_likely=isinstance(error, Unavailable)):
            await self._scratch.ready()
            return EngineCrashed(f"Triton died while {directory!r} {doing}")
        if isinstance(error, EngineCrashed):  # a model whose process is gone is loaded anew only after an unload
            with suppress(DomainError):
                await self.unload(directory)
        if isinstance(error, EngineFailed | TimedOut):
            return error
        return EngineFailed(f"{directory!r} failed while it {doing}: {error.message}")


def _plan(rounds: int, request_s: float) -> _Plan:
    if request_s > SLOW_S:
        return _Plan(SLOW_ROUNDS, SAMPLES_MIN // SLOW_ROUNDS, SLOW_ROUNDS // ROUNDS_MIN)
    rounds = max(rounds, ROUNDS_MIN)
    counted = max(_COUNTED_MIN, math.ceil(SAMPLES_MIN / rounds))
    while counted < _COUNTED_MAX and counted * request_s < _COUNTED_S:
        counted += 1
    return _Plan(rounds, counted, 1)
