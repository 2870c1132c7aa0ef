"""What the workflow of a job is handed, and what a job gave when it is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from control_plane.domain.errors import Conflict, DomainError, error_of
from control_plane.domain.jobs import Job, JsonObject
from control_plane.ports import Progress, Report, Step, Steps

log = logging.getLogger(__name__)
T = TypeVar("T")


class Run:
    """What a workflow is handed: its job, durable steps, and a way to say how far it is."""

    def __init__(
        self, job: Job, steps: Steps, advance: Callable[[Job, str], Awaitable[object]], workspace: Path
    ) -> None:
        self.job, self.workspace = job, workspace
        self._steps, self._advance = steps, advance
        self._latest: Progress | None = None
        self._writing: asyncio.Task[None] | None = None

    async def step(self, name: str, work: Step) -> JsonObject:
        """Do `work`, or return what it returned when it was done before a restart; see `ports.Steps`."""
        result = await self._steps.step(name, work)
        await self.settled()
        return result

    def report(self, progress: Progress) -> None:
        """Say how far the job is. Never waits; of many reports in a moment the last is recorded."""
        self._latest = progress
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._record())

    async def settled(self) -> None:
        """Nothing is being recorded any more: the event that ends a job is to be its last."""
        if self._writing is not None:
            await to_its_end(self._writing)

    async def _record(self) -> None:
        while self._latest is not None:
            latest, self._latest = self._latest, None
            percent = max(self.job.progress, min(99.0, round(100 * latest.fraction, 1)))
            if (percent, latest.message) != (self.job.progress, self.job.step):
                self.job = replace(self.job, progress=percent, step=latest.message)
                try:
                    await self._advance(self.job, "progress")
                except DomainError as error:  # no reason to give up the work
                    log.warning("progress is not recorded", extra={"job": self.job.id, "reason": error.message})


JobWorkflow = Callable[[Run], Awaitable[JsonObject]]


def part_of(report: Report, start: float, end: float) -> Report:
    """A part of a progress as a whole of its own."""
    return lambda progress: report(Progress(start + (end - start) * progress.fraction, progress.message))


def result_of(job: Job) -> JsonObject:
    """The result of a job that is over. Raises what it failed with; Conflict when it was cancelled."""
    if job.failure is not None:
        raise error_of(job.failure.code, job.failure.message, {**job.failure.details, "job_id": job.id})
    if job.result is None:
        raise Conflict(f"the {job.kind.value} was cancelled", job_id=job.id)
    return job.result


async def to_its_end(work: Awaitable[T]) -> T:
    """Wait for what is not to be cut off in the middle, also when interrupted."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # asked for, or asyncio logs that nobody did
        raise
