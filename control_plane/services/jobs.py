"""Long work: submitted, watched, cancelled, and run to its end whatever dies in between."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from ulid import ULID

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import Conflict, DomainError, NotFound, NotPermitted
from control_plane.domain.events import Event, EventFilter, NewEvent, Topic
from control_plane.domain.jobs import Failure, Job, JobFilter, JobKind, JobState, JsonObject
from control_plane.domain.paging import Page, Paged
from control_plane.ports import Clock, Durability, Events, JobStore, Progress, Step, Steps, Workspaces

log = logging.getLogger(__name__)
KEPT = timedelta(days=30)
PRODUCT = "tritonplane"


def new_job_id() -> str:
    """`job_<ulid>`: sorts by time."""
    return f"job_{ULID()}"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be. `id` may be given, so that its workspace can be filled before it is submitted."""

    id: str
    kind: JobKind
    model: str
    parameters: JsonObject


class Run:
    """What a workflow is handed: its job, durable steps, and a way to say how far it is."""

    def __init__(self, job: Job, steps: Steps, advance: Callable[[Job, str], Awaitable[None]], workspace: Path) -> None:
        self.job, self.workspace = job, workspace
        self._steps, self._advance = steps, advance
        self._latest: Progress | None = None
        self._writing: asyncio.Task[None] | None = None

    async def step(self, name: str, work: Step) -> JsonObject:
        """Do `work`, or return what it returned when it was done before a restart; see `ports.Steps`."""
        result = await self._steps.step(name, work)
        await self._settle()
        return result

    def report(self, progress: Progress) -> None:
        """Say how far the job is. Never waits; of many reports in a moment the last is recorded."""
        self._latest = progress
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._record())

    async def _record(self) -> None:
        while self._latest is not None:
            latest, self._latest = self._latest, None
            percent = max(self.job.progress, min(99.0, round(100 * latest.fraction, 1)))
            if (percent, latest.message) != (self.job.progress, self.job.step):
                self.job = replace(self.job, progress=percent, step=latest.message)
                await self._advance(self.job, "progress")

    async def _settle(self) -> None:
        if self._writing is not None:
            await self._writing


JobWorkflow = Callable[[Run], Awaitable[JsonObject]]


class JobService:
    """One workflow for each kind of job; what it returns is the job's result.

    A workflow that raises a DomainError fails its job with it. Cancelled by a caller, the job ends `cancelled`;
    interrupted by the server's end, it is taken up again by the next server.
    """

    def __init__(
        self, store: JobStore, events: Events, durability: Durability, workspaces: Workspaces, clock: Clock
    ) -> None:
        self._store, self._events, self._durability = store, events, durability
        self._workspaces, self._clock = workspaces, clock
        self._workflows: dict[JobKind, JobWorkflow] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._unfinished: dict[str, JobState] = {}
        self.ended: Counter[tuple[JobKind, JobState]] = Counter()  # since this server started

    def register(self, kind: JobKind, workflow: JobWorkflow) -> None:
        self._workflows[kind] = workflow

    async def open(self) -> None:
        """Forget what is old, and go on with what the last server left unfinished."""
        await self.forget_old()
        unfinished = await self._store.unfinished()
        self._unfinished = {job.id: job.state for job in unfinished}
        await self._durability.open(self._run)
        for job in unfinished:
            await self._durability.start(job.id)

    async def forget_old(self) -> None:
        for job_id in await self._store.delete_finished(self._clock.now() - KEPT):
            await asyncio.to_thread(self._workspaces.delete, job_id)
        for job_id in await asyncio.to_thread(self._workspaces.ids):
            if await self._store.get(job_id) is None:
                await asyncio.to_thread(self._workspaces.delete, job_id)

    async def submit(self, new: NewJob, caller: Principal | None) -> Job:
        """Queued when this returns: from now on it ends completed, failed or cancelled, whatever dies."""
        job = Job(
            new.id, new.kind, new.model, self._clock.now(), caller.id if caller else PRODUCT, parameters=new.parameters
        )
        await self._store.create(job, _event(job, "queued"))
        self._unfinished[job.id] = job.state
        await self._durability.start(job.id)
        log.info("job queued", extra={"job": job.id, "kind": job.kind.value, "model": job.model})
        return job

    async def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        job = await self._store.get(job_id)
        if job is None:
            raise NotFound(f"no job {job_id[:100]!r}")
        return job

    async def list(self, wanted: JobFilter, page: Page) -> Paged[Job]:
        """Newest first."""
        return await self._store.list(wanted, page)

    async def log_file(self, job_id: str, caller: Principal) -> Path:
        """Where its children's own words are; the file may not exist. Raises NotFound, NotPermitted."""
        job = await self.get(job_id)
        _require_owner(job, caller, "read its log")
        return self._workspaces.log_file(job.id)

    async def watch(self, job_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """Its events from the first (or after a sequence number) on; ends with the one that ends the job.

        Raises: NotFound.
        """
        job = await self.get(job_id)
        # From the first in any case: after the last event of a job that is over there is nothing to wait for.
        events = self._events.watch(EventFilter(frozenset({Topic.JOB}), job.id), 0)
        try:
            async for event in events:
                if event.seq > after:
                    yield event
                if event.kind in _ENDS:
                    return
        finally:
            await events.aclose()

    async def wait(self, job_id: str) -> Job:
        """The job when it is over."""
        ended = self._ended.setdefault(job_id, asyncio.Event())
        if not (await self.get(job_id)).state.is_terminal:
            await ended.wait()
        self._ended.pop(job_id, None)
        return await self.get(job_id)

    async def cancel(self, job_id: str, caller: Principal) -> Job:
        """Returns when its work has ended and nothing of it is left. Raises NotFound, NotPermitted, Conflict."""
        job = await self.get(job_id)
        _require_owner(job, caller, "cancel it")
        if not job.state.is_terminal:
            await self._durability.cancel(job_id)
            await self._end(await self.get(job_id), JobState.CANCELLED)
        job = await self.get(job_id)
        if job.state is not JobState.CANCELLED:
            raise Conflict(f"the job is over: {job.state.value}", state=job.state.value)
        return job

    def unfinished(self) -> Counter[JobState]:
        """How many are queued and running now."""
        return Counter(self._unfinished.values())

    async def _run(self, job_id: str, steps: Steps) -> None:
        job = await self._store.get(job_id)
        if job is None or job.state.is_terminal:
            return
        job = replace(job, state=JobState.RUNNING, started_at=job.started_at or self._clock.now())
        await self._store.advance(job, _event(job, "started"))
        self._unfinished[job.id] = job.state
        run = Run(job, steps, self._advance, await asyncio.to_thread(self._workspaces.create, job_id))
        try:
            result = await self._workflows[job.kind](run)
        except DomainError as error:
            failure = Failure(error.code, error.message, error.details)
            await self._end(replace(run.job, failure=failure), JobState.FAILED)
        except Exception:
            log.exception("a job failed unexpectedly", extra={"job": job_id})
            failure = Failure("INTERNAL_ERROR", "the job failed for a reason that is in the server's log")
            await self._end(replace(run.job, failure=failure), JobState.FAILED)
        else:
            await self._end(replace(run.job, result=result, progress=100.0), JobState.COMPLETED)

    async def _advance(self, job: Job, kind: str) -> None:
        await self._store.advance(job, _event(job, kind))

    async def _end(self, job: Job, state: JobState) -> None:
        job = replace(job, state=state, finished_at=self._clock.now(), step=None)
        await asyncio.to_thread(self._workspaces.clean, job.id)
        self._unfinished.pop(job.id, None)
        if await self._store.advance(job, _event(job, state.value)):
            self.ended[job.kind, state] += 1
            log.info("job over", extra={"job": job.id, "state": state.value, "model": job.model})
        if (ended := self._ended.pop(job.id, None)) is not None:
            ended.set()


def _require_owner(job: Job, caller: Principal, doing: str) -> None:
    if caller.id != job.created_by and not caller.role.covers(Role.ADMIN):
        raise NotPermitted(f"only who submitted a job, or an admin, may {doing}")


_ENDS = frozenset(state.value for state in JobState if state.is_terminal)


def _event(job: Job, kind: str) -> NewEvent:
    payload: JsonObject = {
        "kind": job.kind.value,
        "model": job.model,
        "state": job.state.value,
        "progress": job.progress,
        "step": job.step,
    }
    if job.result is not None:
        payload["result"] = job.result
    if job.failure is not None:
        failure = job.failure
        payload["error"] = {"code": failure.code, "message": failure.message, "details": failure.details}
    return NewEvent(Topic.JOB, job.id, kind, payload)
