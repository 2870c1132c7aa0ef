"""Long work: submitted, watched, cancelled, and run to its end whatever dies in between."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from ulid import ULID

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import Conflict, DomainError, NotFound, NotPermitted, Unavailable
from control_plane.domain.events import Event, EventFilter, NewEvent, Topic
from control_plane.domain.jobs import Failure, Job, JobFilter, JobKind, JobState, JsonObject
from control_plane.domain.paging import Page, Paged
from control_plane.ports import Clock, Durability, Events, JobStore, Steps, Workspaces
from control_plane.services.job_runs import JobWorkflow, Run, to_its_end

__all__ = ["JobService", "JobWorkflow", "NewJob", "Run", "new_job_id"]
log = logging.getLogger(__name__)
KEPT = timedelta(days=30)
ATTEMPTS_MAX = 20  # a job that kills the server each time must not do so for ever
RETRY_S = 1.0
PRODUCT = "tritonplane"
UNEXPECTED = Failure("INTERNAL_ERROR", "the job failed for a reason that is in the server's log")
T = TypeVar("T")


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
        self._opened, self._refusal = asyncio.Event(), ""
        self._running: set[str] = set()
        self._cancelling: set[str] = set()
        self._ended: dict[str, asyncio.Event] = {}
        self._unfinished: dict[str, JobState] = {}
        self.ended: Counter[tuple[JobKind, JobState]] = Counter()  # since this server started

    def register(self, kind: JobKind, workflow: JobWorkflow) -> None:
        self._workflows[kind] = workflow

    async def sweep(self) -> None:
        """Forget what is old, and workspaces of jobs that never were. To be called before anything is received."""
        await self.forget_old()
        for job_id in await asyncio.to_thread(self._workspaces.ids):
            if await self._store.get(job_id) is None:
                await asyncio.to_thread(self._workspaces.delete, job_id)

    async def forget_old(self) -> None:
        for job_id in await self._store.delete_finished(self._clock.now() - KEPT):
            await asyncio.to_thread(self._workspaces.delete, job_id)

    async def open(self) -> bool:
        """Go on with what the last server left unfinished. False where that fails: jobs are refused until it works."""
        try:
            await self._durability.open(self._run)
            for job in await self._store.unfinished():
                self._unfinished[job.id] = job.state
                await self._durability.start(job.id)
            self._refusal = ""
        except Exception as error:
            reason = error.message if isinstance(error, DomainError) else "the reason is in the server's log"
            self._refusal = f"jobs cannot be run: {reason}"
            log.exception("jobs cannot be run")
        finally:
            self._opened.set()
        return not self._refusal

    async def submit(self, new: NewJob, caller: Principal | None) -> Job:
        """Queued when this returns: from now on it ends completed, failed or cancelled, whatever dies.

        Raises: Unavailable where jobs cannot be run.
        """
        await self._require_open()
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
        """The job when it is over. Raises NotFound."""
        await self.get(job_id)
        ended = self._ended.setdefault(job_id, asyncio.Event())
        if not (await self.get(job_id)).state.is_terminal:
            await ended.wait()
        self._ended.pop(job_id, None)
        return await self.get(job_id)

    async def cancel(self, job_id: str, caller: Principal) -> Job:
        """Returns when its work has ended and nothing of it is left.

        Raises: NotFound, NotPermitted, Conflict when it is over; Unavailable where jobs cannot be run.
        """
        job = await self.get(job_id)
        _require_owner(job, caller, "cancel it")
        if not job.state.is_terminal:
            await self._require_open()
            await self._cancel(job_id)
        job = await self.get(job_id)
        if job.state is not JobState.CANCELLED:
            raise Conflict(f"the job is over: {job.state.value}", state=job.state.value)
        return job

    async def _cancel(self, job_id: str) -> None:
        """Recorded before the durability forgets the job: a server that dies in between must not take it up again."""
        self._cancelling.add(job_id)
        try:
            if job_id not in self._running:
                await self._end(await self.get(job_id), JobState.CANCELLED)
            await self._durability.cancel(job_id)
            await self._end(await self.get(job_id), JobState.CANCELLED)
        finally:
            self._cancelling.discard(job_id)

    def unfinished(self) -> Counter[JobState]:
        """How many are queued and running now."""
        return Counter(self._unfinished.values())

    async def _require_open(self) -> None:
        await self._opened.wait()
        if self._refusal:
            raise Unavailable(self._refusal)

    async def _run(self, job_id: str, steps: Steps) -> None:
        """Returns when the job is over and that is recorded. Interrupted by the server's end, it is not."""
        job = await _patiently(lambda: self._store.get(job_id))
        if job is None or job.state.is_terminal:
            return
        self._running.add(job_id)
        try:
            job = await self._worked(job, steps)
            await self._end(job, JobState.COMPLETED if job.failure is None else JobState.FAILED)
        except asyncio.CancelledError:
            if job_id in self._cancelling:
                await self._end(await self.get(job_id), JobState.CANCELLED)
            raise
        finally:
            self._running.discard(job_id)

    async def _worked(self, job: Job, steps: Steps) -> Job:
        """The job with its result or failure."""
        if steps.attempts > ATTEMPTS_MAX:
            reason = f"given up: the server ended {ATTEMPTS_MAX} times while the job ran"
            return replace(job, failure=Failure("PROCESSING_FAILED", reason, {"attempts": ATTEMPTS_MAX}))
        job = await self._begun(job)
        try:
            workspace = await asyncio.to_thread(self._workspaces.create, job.id)
        except DomainError as error:
            return replace(job, failure=_failure(error))
        run = Run(job, steps, self._advance, workspace)
        try:
            result = await self._workflows[job.kind](run)
        except DomainError as error:
            return replace(run.job, failure=_failure(error))
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_interrupted():
                raise
            log.exception("a job failed unexpectedly", extra={"job": job.id})
            return replace(run.job, failure=UNEXPECTED)
        finally:
            await run.settled()
        return replace(run.job, result=result, progress=100.0)

    async def _begun(self, job: Job) -> Job:
        event = "started" if job.state is JobState.QUEUED else "resumed"
        job = replace(job, state=JobState.RUNNING, started_at=job.started_at or self._clock.now())
        await _patiently(lambda: self._advance(job, event))
        self._unfinished[job.id] = job.state
        return job

    async def _advance(self, job: Job, event: str) -> bool:
        return await self._store.advance(job, _event(job, event))

    async def _end(self, job: Job, state: JobState) -> None:
        """Over already is fine."""
        if job.state.is_terminal:
            return
        job = replace(job, state=state, finished_at=self._clock.now(), step=None)
        await asyncio.to_thread(self._workspaces.clean, job.id)
        is_news = await _patiently(lambda: self._advance(job, state.value))
        self._unfinished.pop(job.id, None)
        if is_news:
            self.ended[job.kind, state] += 1
            log.info("job over", extra={"job": job.id, "state": state.value, "model": job.model})
        if (ended := self._ended.pop(job.id, None)) is not None:
            ended.set()


def _is_interrupted() -> bool:
    """Whether somebody ends this task; a CancelledError may also leak from a task that the work itself has begun."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Until the database answers: a job that has begun or is over must say so."""
    while True:
        try:
            return await to_its_end(work())
        except DomainError as error:
            log.error("a job's state is not recorded yet", extra={"reason": error.message})
        await asyncio.sleep(RETRY_S)


def _failure(error: DomainError) -> Failure:
    return Failure(error.code, error.message, error.details)


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
