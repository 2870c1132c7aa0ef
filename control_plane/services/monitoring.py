"""What models have done: closed second by second into rollups that are kept, and added up again when asked for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.errors import DomainError, Unavailable, Unsupported
from control_plane.domain.models import Revision, RevisionStatus
from control_plane.domain.references import parse_reference
from control_plane.domain.rollups import Period, Rollup, Work, kept_in_store, minute_of, period
from control_plane.domain.triton import Statistics
from control_plane.ports import Clock, Gpu, MetricStore, TritonControl
from control_plane.services.catalog import Catalog
from control_plane.services.metering import Meter

log = logging.getLogger(__name__)
UNRECORDED_MAX = 2000  # rollups that wait for a database that does not answer; beyond, the oldest are given up
LATE_S = 0.01  # a second is closed when it is over for sure: a timer may be early
IDLE_TICKS = 10  # so often is Triton asked for the queue of an idle revision, lest its probes count as traffic later


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """What a model did in a period, and how it is now. `reasons` says why a number is None.

    `triton` counts since the last load, summed over the loaded revisions. Units: `gpu_percent` over all GPUs.
    """

    model_id: str
    period: Period
    work: Work
    memory_bytes: int | None
    gpu_percent: float | None
    triton: Statistics | None
    reasons: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """`number` None: all revisions of the model."""

    model: str
    number: int | None
    serving: Sequence[RevisionStatus]
    known_since: datetime

    def covers(self, model: str, number: int) -> bool:
        return model == self.model and self.number in (None, number)

    def __str__(self) -> str:
        return self.model if self.number is None else f"{self.model}:{self.number}"


class Monitoring:
    """Opened by `watch`, closed by `close` once no inference can end any more."""

    def __init__(
        self, meter: Meter, catalog: Catalog, control: TritonControl, store: MetricStore, clock: Clock, gpu: Gpu
    ) -> None:
        self._meter, self._catalog, self._control = meter, catalog, control
        self._store, self._clock, self._gpu = store, clock, gpu
        self._unrecorded: deque[Rollup] = deque(maxlen=UNRECORDED_MAX)
        self._recording = asyncio.Lock()  # a rollup is either unrecorded or in the store to whoever holds it
        self._told: dict[str, Statistics] = {}  # what Triton said last of each serving directory
        self._ticks = 0
        self._is_recorded = True

    # counting

    async def watch(self) -> None:
        """Close every second. Runs until cancelled."""
        while True:
            await asyncio.sleep(1 + LATE_S - self._clock.seconds() % 1)
            try:
                await self.close_second()
            except Exception:  # a fault of ours must not end the counting
                log.exception("a second could not be closed; the counting goes on")

    async def close_second(self) -> None:
        """Record what was done since the last call. Without traffic nothing is written."""
        taken = self._meter.take()
        self._unrecorded.extend(taken)
        await self._measure_queues(taken)
        await self._record()

    async def close(self) -> None:
        """Record what is left."""
        self._unrecorded.extend(self._meter.take())
        await self._record()

    def period(self, start: datetime | None, end: datetime | None) -> Period:
        """By default the last 24 hours. Raises InvalidRequest for one that ends before it starts."""
        return period(start, end, self._clock.now())

    async def _record(self) -> None:
        async with self._recording:
            if not self._unrecorded:
                return
            waiting = list(self._unrecorded)
            try:
                await self._store.record(waiting, kept_in_store(self._clock.seconds()))
            except Unavailable as error:
                if self._is_recorded:
                    log.warning("metrics wait for the database", extra={"reason": error.message})
                self._is_recorded = False
                return
            self._is_recorded = True
            recorded = set(map(id, waiting))  # more may wait by now
            self._unrecorded = deque((one for one in self._unrecorded if id(one) not in recorded), UNRECORDED_MAX)

    async def _measure_queues(self, taken: Sequence[Rollup]) -> None:
        """Our process has no queue, Triton has one for each model: what its counters grew by is put to the traffic."""
        works = {(one.model, one.revision): one.work for one in taken}
        serving = [status.revision for status in self._catalog.statuses() if status.state.serves]
        told, self._told = self._told, {}
        self._ticks += 1
        for revision in serving:
            before, work = told.get(revision.directory), works.get((revision.model, revision.number))
            is_asked = work is not None or before is None or self._ticks % IDLE_TICKS == 0
            now = await self._queue(revision) if is_asked else None
            if work and before and now:
                _add_queue(work, before, now)
            if latest := now or before:
                self._told[revision.directory] = latest

    async def _queue(self, revision: Revision) -> Statistics | None:
        """None where Triton does not tell: that time stays unmeasured."""
        try:
            return await self._control.statistics(revision.directory)
        except DomainError:
            return None

    # questions

    async def metrics(self, reference: str, wanted: Period) -> ModelMetrics:
        """A bare name means all revisions of the model, `name:N` and `name@alias` that one.

        The last hour is known by the second, what lies before by the minute, nothing beyond 7 days.
        Raises: InvalidRequest, ModelNotFound, Unavailable.
        """
        asked, reasons = self._asked(reference), dict[str, str]()
        work = await self._work(asked, wanted)
        return ModelMetrics(
            str(asked),
            wanted,
            work,
            self._memory_bytes(asked, reasons),
            self._gpu_percent(reasons),
            await self._statistics(asked, reasons),
            reasons,
        )

    def _asked(self, reference: str) -> _Asked:
        status, parsed = self._catalog.resolve(reference), parse_reference(reference)
        model = self._catalog.get(status.revision.model)
        is_whole = parsed.revision is None and "@" not in reference
        statuses = model.revisions if is_whole else (status,)
        number = None if is_whole else status.revision.number
        serving = [one for one in statuses if one.state.serves]
        return _Asked(model.name, number, serving, model.record.created_at)

    async def _work(self, asked: _Asked, wanted: Period) -> Work:
        minutes, seconds = wanted.rollups(asked.known_since, self._clock.seconds())
        async with self._recording:
            unrecorded = [*self._unrecorded, *self._meter.look()]
            total = await self._store.total(asked.model, asked.number, minutes, seconds)
        for one in unrecorded:
            is_within = one.starts_at_s in seconds or minute_of(one.starts_at_s) in minutes
            if is_within and asked.covers(one.model, one.revision):
                total.add(one.work)
        return total

    def _memory_bytes(self, asked: _Asked, reasons: dict[str, str]) -> int | None:
        if not asked.serving:
            reasons["memory_usage_bytes"] = f"{str(asked)!r} is not loaded"
            return None
        sizes = [self._control.memory_bytes(status.revision.directory) for status in asked.serving]
        if None in sizes:
            reasons["memory_usage_bytes"] = "no process of its own executes it, so its memory cannot be told apart"
            return None
        return sum(filter(None, sizes))

    def _gpu_percent(self, reasons: dict[str, str]) -> float | None:
        try:
            return self._gpu.utilization_percent()
        except Unsupported as error:
            reasons["gpu_utilization"] = error.message
            return None

    async def _statistics(self, asked: _Asked, reasons: dict[str, str]) -> Statistics | None:
        if not asked.serving:
            reasons["triton"] = f"{str(asked)!r} is not loaded"
            return None
        total = Statistics(0, 0, 0, 0, 0, 0, 0)
        for status in asked.serving:
            try:
                total += await self._control.statistics(status.revision.directory)
            except DomainError as error:
                reasons["triton"] = status.revision.in_public_words(error.message)
                return None
        return total


def _add_queue(work: Work, before: Statistics, now: Statistics) -> None:
    """`before` may be of an earlier load, since when Triton counts from zero again."""
    if now.success_count < before.success_count:
        before = replace(before, success_count=0, queue_us=0)
    work.queued += now.success_count - before.success_count
    work.queue_us += max(0, now.queue_us - before.queue_us)
