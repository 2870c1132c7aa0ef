"""Jobs from their submission to their end, and what the next server makes of what the last one left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import Conflict, EngineFailed, NotFound, NotPermitted, Unavailable
from control_plane.domain.events import EventFilter, NewEvent, Topic
from control_plane.domain.jobs import Failure, Job, JobKind, JobState, JsonObject
from control_plane.ports import Progress, Workflow
from control_plane.services import jobs as module
from control_plane.services.jobs import JobService, NewJob, Run, new_job_id
from tests.doubles.clock import FixedClock
from tests.doubles.durability import InMemoryDurability, Record
from tests.doubles.jobs import InMemoryEvents, InMemoryJobStore, TemporaryWorkspaces

LEA, MAX, ADMIN = Principal("lea", Role.USER), Principal("max", Role.USER), Principal("root", Role.ADMIN)
Work = Callable[[Run], Awaitable[JsonObject]]


class UnwillingStore(InMemoryJobStore):
    """Refuses to record an event of the kind `refused`, `times` times."""

    refused, times = "", 0

    async def advance(self, job: Job, event: NewEvent) -> bool:
        if event.kind == self.refused and self.times > 0:
            self.times -= 1
            raise Unavailable("the database does not answer")
        return await super().advance(job, event)


@dataclass
class Machine:
    """What outlives a server; `boot` starts the next one on it."""

    clock: FixedClock = field(default_factory=FixedClock)
    records: dict[str, Record] = field(default_factory=dict)
    durability: InMemoryDurability | None = None

    def __post_init__(self) -> None:
        self.events = InMemoryEvents(self.clock)
        self.store = UnwillingStore(self.events)
        self.workspaces = TemporaryWorkspaces()

    async def boot(self, work: Work) -> JobService:
        await self.stop()
        self.durability = InMemoryDurability(self.records)
        jobs = JobService(self.store, self.events, self.durability, self.workspaces, self.clock)
        jobs.register(JobKind.IMPORT, work)
        await jobs.sweep()
        await jobs.open()
        return jobs

    async def stop(self) -> None:
        if self.durability is not None:
            await self.durability.close()

    def told(self, job_id: str) -> list[str]:
        return [event.kind for event in self.events.recorded if event.subject == job_id]


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    machine = Machine()
    yield machine
    await machine.stop()


def a_job(**parameters: object) -> NewJob:
    return NewJob(new_job_id(), JobKind.IMPORT, "tiny", parameters)


class Held:
    """A workflow that waits in its second step; `interrupted` counts those that were cut off there."""

    def __init__(self) -> None:
        self.is_there, self.go_on = asyncio.Event(), asyncio.Event()
        self.first, self.second, self.interrupted = 0, 0, 0

    async def __call__(self, run: Run) -> JsonObject:
        await run.step("first", self._first)
        return await run.step("second", self._second)

    async def _first(self) -> JsonObject:
        self.first += 1
        return {}

    async def _second(self) -> JsonObject:
        self.second += 1
        self.is_there.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        return {"revision": 3}


async def at_once(run: Run) -> JsonObject:
    return {"revision": 1}


async def test_a_job_is_queued_then_runs_and_completes_with_its_result(machine: Machine) -> None:
    work = Held()
    jobs = await machine.boot(work)
    job = await jobs.submit(a_job(precision="int8"), LEA)
    assert (job.state, job.created_by, job.parameters, job.progress) == (
        JobState.QUEUED,
        "lea",
        {"precision": "int8"},
        0,
    )
    await work.is_there.wait()
    running = await jobs.get(job.id)
    assert (running.state, running.started_at) == (JobState.RUNNING, machine.clock.now())
    machine.clock.advance(60)
    work.go_on.set()
    done = await jobs.wait(job.id)
    assert (done.state, done.result, done.progress, done.failure) == (JobState.COMPLETED, {"revision": 3}, 100.0, None)
    assert done.finished_at == machine.clock.now()
    assert machine.told(job.id) == ["queued", "started", "completed"]
    assert jobs.ended == {(JobKind.IMPORT, JobState.COMPLETED): 1}
    assert not jobs.unfinished()


async def test_progress_never_falls_never_reaches_100_by_itself_and_the_last_word_counts(machine: Machine) -> None:
    async def work(run: Run) -> JsonObject:
        for fraction, message in ((0.1, "a"), (0.5, "b"), (0.3, "c"), (1.0, "d")):
            run.report(Progress(fraction, message))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await run.step("one", _nothing)
        return {}

    jobs = await machine.boot(work)
    job = await jobs.submit(a_job(), LEA)
    await jobs.wait(job.id)
    told = [event.payload for event in machine.events.recorded if event.kind == "progress"]
    progress = [payload["progress"] for payload in told]
    assert progress == sorted(progress, key=float)
    assert (told[-1]["progress"], told[-1]["step"]) == (99.0, "d")
    assert machine.told(job.id)[-1] == "completed"


async def test_a_domain_error_fails_the_job_with_its_words_and_details(machine: Machine) -> None:
    async def work(run: Run) -> JsonObject:
        async def step() -> JsonObject:
            raise EngineFailed("no such operator", operator="Foo")

        return await run.step("one", step)

    jobs = await machine.boot(work)
    job = await jobs.wait((await jobs.submit(a_job(), LEA)).id)
    assert job.state is JobState.FAILED
    assert job.failure == Failure("PROCESSING_FAILED", "no such operator", {"operator": "Foo"})
    error = machine.events.recorded[-1].payload["error"]
    assert error == {"code": "PROCESSING_FAILED", "message": "no such operator", "details": {"operator": "Foo"}}


async def test_a_fault_of_ours_fails_the_job_without_telling_its_text(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(run: Run) -> JsonObject:
        raise ValueError("a secret path")

    jobs = await machine.boot(work)
    job = await jobs.wait((await jobs.submit(a_job(), LEA)).id)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert (job.failure.code, "secret" in job.failure.message) == ("INTERNAL_ERROR", False)
    assert "a secret path" in caplog.text


async def test_a_cancellation_that_nobody_asked_for_is_a_fault_of_ours(machine: Machine) -> None:
    async def work(run: Run) -> JsonObject:
        raise asyncio.CancelledError

    jobs = await machine.boot(work)
    job = await asyncio.wait_for(jobs.wait((await jobs.submit(a_job(), LEA)).id), 5)
    assert (job.state, job.failure) == (JobState.FAILED, module.UNEXPECTED)


async def test_cancel_ends_the_work_before_it_returns(machine: Machine) -> None:
    work = Held()
    jobs = await machine.boot(work)
    job = await jobs.submit(a_job(), LEA)
    await work.is_there.wait()
    cancelled = await jobs.cancel(job.id, LEA)
    assert (cancelled.state, work.interrupted, machine.records) == (JobState.CANCELLED, 1, {})
    assert machine.told(job.id) == ["queued", "started", "cancelled"]
    assert cancelled == await jobs.wait(job.id)


async def test_a_job_that_waits_can_be_cancelled_and_never_runs(machine: Machine) -> None:
    work = Held()
    jobs = await machine.boot(work)
    first, second = await jobs.submit(a_job(), LEA), await jobs.submit(a_job(), LEA)
    await work.is_there.wait()
    assert jobs.unfinished() == {JobState.RUNNING: 1, JobState.QUEUED: 1}
    assert (await jobs.cancel(second.id, LEA)).state is JobState.CANCELLED
    work.go_on.set()
    await jobs.wait(first.id)
    assert machine.told(second.id) == ["queued", "cancelled"]
    assert work.first == 1


async def test_only_who_submitted_a_job_and_admins_may_cancel_it(machine: Machine) -> None:
    jobs = await machine.boot(Held())
    job = await jobs.submit(a_job(), LEA)
    with pytest.raises(NotPermitted, match="submitted"):
        await jobs.cancel(job.id, MAX)
    assert (await jobs.cancel(job.id, ADMIN)).state is JobState.CANCELLED
    assert (await jobs.cancel(job.id, LEA)).state is JobState.CANCELLED  # twice is fine


async def test_a_job_that_is_over_cannot_be_cancelled(machine: Machine) -> None:
    jobs = await machine.boot(at_once)
    job = await jobs.wait((await jobs.submit(a_job(), LEA)).id)
    with pytest.raises(Conflict, match="completed"):
        await jobs.cancel(job.id, LEA)


async def test_what_is_not_there_is_said_so(machine: Machine) -> None:
    jobs = await machine.boot(at_once)
    for ask in (jobs.get, jobs.wait, lambda job_id: jobs.cancel(job_id, LEA), lambda job_id: anext(jobs.watch(job_id))):
        with pytest.raises(NotFound):
            await ask("job_unknown")  # type: ignore[operator]


async def test_a_watch_tells_a_job_from_its_first_event_to_its_last(machine: Machine) -> None:
    work = Held()
    jobs = await machine.boot(work)
    job = await jobs.submit(a_job(), LEA)

    async def watched() -> list[str]:
        return [event.kind async for event in jobs.watch(job.id)]

    watching = asyncio.create_task(watched())
    await work.is_there.wait()
    work.go_on.set()
    assert await asyncio.wait_for(watching, 5) == ["queued", "started", "completed"]
    assert await asyncio.wait_for(watched(), 5) == ["queued", "started", "completed"]


async def test_a_stopped_server_leaves_its_jobs_to_the_next_one(machine: Machine) -> None:
    work = Held()
    jobs = await machine.boot(work)
    running, queued = await jobs.submit(a_job(), LEA), await jobs.submit(a_job(), LEA)
    await work.is_there.wait()
    await machine.stop()
    assert [(await jobs.get(job.id)).state for job in (running, queued)] == [JobState.RUNNING, JobState.QUEUED]

    work.go_on.set()
    jobs = await machine.boot(work)
    assert {(await jobs.wait(job.id)).state for job in (running, queued)} == {JobState.COMPLETED}
    assert machine.told(running.id) == ["queued", "started", "resumed", "completed"]
    assert (work.first, work.second, work.interrupted) == (2, 3, 1)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
async def test_killed_before_the_durability_knew_of_a_job_it_is_started_again(
    machine: Machine, state: JobState
) -> None:
    job = Job(new_job_id(), JobKind.IMPORT, "tiny", machine.clock.now(), "lea", state=state)
    await machine.store.create(job, NewEvent(Topic.JOB, job.id, "queued"))
    jobs = await machine.boot(at_once)
    assert (await asyncio.wait_for(jobs.wait(job.id), 5)).state is JobState.COMPLETED


@pytest.mark.parametrize("state", [state for state in JobState if state.is_terminal])
async def test_killed_between_the_end_of_a_job_and_its_forgetting_it_is_not_done_again(
    machine: Machine, state: JobState
) -> None:
    job = Job(new_job_id(), JobKind.IMPORT, "tiny", machine.clock.now(), "lea", state=state)
    job = replace(job, finished_at=machine.clock.now())
    await machine.store.create(job, NewEvent(Topic.JOB, job.id, state.value))
    machine.records[job.id] = Record(attempts=1, steps=[{}])
    work = Held()
    jobs = await machine.boot(work)
    later = await jobs.submit(a_job(), LEA)  # the slot is free again
    await work.is_there.wait()
    assert (await jobs.get(job.id), machine.told(job.id)) == (job, [state.value])
    assert list(machine.records) == [later.id]


async def test_a_record_of_a_job_that_is_forgotten_is_no_matter(machine: Machine) -> None:
    machine.records["job_gone"] = Record(attempts=1)
    jobs = await machine.boot(at_once)
    await asyncio.wait_for(jobs.wait((await jobs.submit(a_job(), LEA)).id), 5)
    assert machine.records == {}


async def test_a_job_that_kills_the_server_each_time_is_given_up_with_a_reason(machine: Machine) -> None:
    work = Held()
    jobs = await machine.boot(work)
    job = await jobs.submit(a_job(), LEA)
    for _ in range(module.ATTEMPTS_MAX - 1):
        await work.is_there.wait()
        work.is_there.clear()
        jobs = await machine.boot(work)
    await work.is_there.wait()
    jobs = await machine.boot(work)
    given_up = await asyncio.wait_for(jobs.wait(job.id), 5)
    assert given_up.state is JobState.FAILED
    assert given_up.failure is not None
    assert "20 times" in given_up.failure.message
    assert machine.records == {}


@pytest.mark.parametrize("refused", ["started", "completed", "cancelled"])
async def test_a_database_that_does_not_answer_delays_a_job_and_loses_nothing(
    machine: Machine, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    machine.store.refused, machine.store.times = refused, 3
    work = Held()
    jobs = await machine.boot(work)
    job = await jobs.submit(a_job(), LEA)
    await work.is_there.wait()
    if refused == "cancelled":
        await jobs.cancel(job.id, LEA)
    work.go_on.set()
    assert (await asyncio.wait_for(jobs.wait(job.id), 5)).state.is_terminal
    assert machine.store.times == 0
    assert machine.told(job.id) == ["queued", "started", "cancelled" if refused == "cancelled" else "completed"]


async def test_progress_that_cannot_be_recorded_does_not_fail_the_work(machine: Machine) -> None:
    async def work(run: Run) -> JsonObject:
        run.report(Progress(0.5, "half"))
        return await run.step("one", _nothing)

    machine.store.refused, machine.store.times = "progress", 1
    jobs = await machine.boot(work)
    assert (await jobs.wait((await jobs.submit(a_job(), LEA)).id)).state is JobState.COMPLETED


async def test_a_workspace_is_cleaned_at_the_end_and_gone_with_the_job(machine: Machine) -> None:
    async def work(run: Run) -> JsonObject:
        (run.workspace / "log.txt").write_text("said")
        (run.workspace / "weights").write_bytes(b"x")
        return {}

    jobs = await machine.boot(work)
    job = await jobs.submit(a_job(), LEA)
    await jobs.wait(job.id)
    assert [path.name for path in machine.workspaces.create(job.id).iterdir()] == ["log.txt"]
    assert (await jobs.log_file(job.id, LEA)).read_text() == "said"
    machine.clock.advance(module.KEPT.total_seconds() + 1)
    await jobs.forget_old()
    assert (list(machine.workspaces.ids()), machine.told(job.id)) == ([], [])
    with pytest.raises(NotFound):
        await jobs.get(job.id)


async def test_a_workspace_that_is_filled_before_its_job_is_submitted_stays_until_the_next_start(
    machine: Machine,
) -> None:
    jobs = await machine.boot(at_once)
    uploading = new_job_id()
    machine.workspaces.create(uploading)
    await jobs.forget_old()
    assert list(machine.workspaces.ids()) == [uploading]
    await machine.boot(at_once)
    assert list(machine.workspaces.ids()) == []


class Broken(InMemoryDurability):
    is_broken = True

    async def open(self, workflow: Workflow) -> None:
        if self.is_broken:
            raise Unavailable("jobs.db cannot be opened: file is not a database")
        await super().open(workflow)


async def test_jobs_that_were_refused_run_once_what_was_broken_is_repaired(machine: Machine) -> None:
    durability = Broken()
    jobs = JobService(machine.store, machine.events, durability, machine.workspaces, machine.clock)
    jobs.register(JobKind.IMPORT, at_once)
    assert not await jobs.open()
    durability.is_broken = False
    assert await jobs.open()
    job = await jobs.submit(a_job(), LEA)
    assert (await jobs.wait(job.id)).state is JobState.COMPLETED


async def test_submissions_wait_until_jobs_are_open_and_are_refused_where_they_cannot_be(machine: Machine) -> None:
    jobs = JobService(machine.store, machine.events, Broken(), machine.workspaces, machine.clock)
    submitting = asyncio.create_task(jobs.submit(a_job(), LEA))
    await asyncio.sleep(0)
    assert not submitting.done()
    await jobs.open()
    with pytest.raises(Unavailable, match=r"jobs cannot be run: jobs\.db"):
        await submitting
    assert list(await machine.store.unfinished()) == []


async def test_watches_end_with_the_server(machine: Machine) -> None:
    jobs = await machine.boot(Held())
    job = await jobs.submit(a_job(), LEA)
    watch = jobs.watch(job.id)
    assert (await anext(watch)).kind == "queued"
    machine.events.end_watches()
    assert [event.kind async for event in watch] in ([], ["started"])
    assert EventFilter().wants(machine.events.recorded[0])


async def _nothing() -> JsonObject:
    return {}
