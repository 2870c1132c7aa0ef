"""One suite for every JobStore: the one on SQLite, and the double that other tests use in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.domain.errors import Conflict
from control_plane.domain.events import Event, EventFilter, NewEvent, Topic
from control_plane.domain.jobs import Failure, Job, JobFilter, JobKind, JobState
from control_plane.domain.paging import Page
from control_plane.gateways.state import open_database
from control_plane.gateways.state.events import open_events
from control_plane.gateways.state.jobs import SqlJobStore
from control_plane.ports import Events, JobStore
from tests.doubles.clock import FixedClock
from tests.doubles.jobs import InMemoryEvents, InMemoryJobStore

CLOCK = FixedClock()
NOON = CLOCK.now()
QUEUED = Job("job_1", JobKind.IMPORT, "tiny", NOON, "lea", {"precision": "int8", "deep": [1, None, {"é": 0.5}]})
DONE = replace(
    QUEUED, state=JobState.COMPLETED, progress=100.0, started_at=NOON, finished_at=NOON, result={"revision": 3}
)


@dataclass
class Kept:
    """A store and the events it records."""

    store: JobStore
    events: Events

    async def recorded(self, count: int) -> list[Event]:
        found: list[Event] = []
        watch = self.events.watch(EventFilter(), 0)
        async with asyncio.timeout(5):
            while len(found) < count:
                found.append(await anext(watch))
        await watch.aclose()
        return found


@pytest.fixture(params=["sqlite", "in memory"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    if request.param == "in memory":
        events = InMemoryEvents(CLOCK)
        yield Kept(InMemoryJobStore(events), events)
        return
    async with AsyncExitStack() as opened:
        database = await opened.enter_async_context(open_database(f"sqlite+aiosqlite:///{tmp_path}/state.db"))
        stream = await opened.enter_async_context(open_events(database, CLOCK))
        yield Kept(SqlJobStore(database, stream), stream)


def said(kind: str, job: Job = QUEUED) -> NewEvent:
    return NewEvent(Topic.JOB, job.id, kind, {"state": job.state.value})


async def add(kept: Kept, *jobs: Job) -> None:
    for job in jobs:
        await kept.store.create(job, said("queued", job))


async def test_a_job_comes_back_as_it_was_created_and_the_event_with_it(kept: Kept) -> None:
    await add(kept, QUEUED)
    assert await kept.store.get("job_1") == QUEUED
    assert await kept.store.get("job_2") is None
    (event,) = await kept.recorded(1)
    assert event == Event(1, NOON, Topic.JOB, "job_1", "queued", {"state": "queued"})


async def test_an_id_can_be_created_once(kept: Kept) -> None:
    await add(kept, QUEUED)
    with pytest.raises(Conflict):
        await kept.store.create(replace(QUEUED, model="other"), said("again"))
    assert await kept.store.get("job_1") == QUEUED


async def test_every_field_that_changes_is_recorded_with_its_event(kept: Kept) -> None:
    await add(kept, QUEUED)
    running = replace(QUEUED, state=JobState.RUNNING, progress=12.5, step="converting", started_at=NOON)
    assert await kept.store.advance(running, said("started", running)) is True
    assert await kept.store.get("job_1") == running
    failed = replace(
        running,
        state=JobState.FAILED,
        step=None,
        finished_at=NOON + timedelta(hours=1),
        failure=Failure("INVALID_REQUEST", "no such operator", {"operator": "Foo"}),
    )
    assert await kept.store.advance(failed, said("failed", failed)) is True
    assert await kept.store.get("job_1") == failed
    assert [event.kind for event in await kept.recorded(3)] == ["queued", "started", "failed"]


@pytest.mark.parametrize("state", [state for state in JobState if state.is_terminal])
async def test_a_job_that_is_over_stays_as_it_is(kept: Kept, state: JobState) -> None:
    await add(kept, QUEUED)
    over = replace(QUEUED, state=state, finished_at=NOON)
    assert await kept.store.advance(over, said(state.value)) is True
    for late in (replace(QUEUED, state=JobState.RUNNING), DONE):
        assert await kept.store.advance(late, said("late")) is False
    assert await kept.store.get("job_1") == over
    await add(kept, replace(QUEUED, id="job_2"))
    assert [event.kind for event in await kept.recorded(3)] == ["queued", state.value, "queued"]


async def test_a_job_that_is_not_known_cannot_advance(kept: Kept) -> None:
    assert await kept.store.advance(DONE, said("late")) is False
    assert await kept.store.get("job_1") is None


async def test_jobs_are_listed_newest_first_filtered_and_in_pages(kept: Kept) -> None:
    jobs = [
        replace(QUEUED, id=f"job_{n}", created_at=NOON + timedelta(seconds=n), model="even" if n % 2 == 0 else "odd")
        for n in range(6)
    ]
    await add(kept, *jobs)
    await kept.store.advance(replace(jobs[5], state=JobState.CANCELLED, finished_at=NOON), said("cancelled"))

    async def ids(wanted: JobFilter, page: Page | None = None) -> tuple[list[str], int]:
        listed = await kept.store.list(wanted, page or Page())
        return [job.id for job in listed.items], listed.total

    assert await ids(JobFilter()) == ([f"job_{n}" for n in (5, 4, 3, 2, 1, 0)], 6)
    assert await ids(JobFilter(), Page(2, 1)) == (["job_4", "job_3"], 6)
    assert await ids(JobFilter(model="odd", states=frozenset({JobState.QUEUED}))) == (["job_3", "job_1"], 2)
    assert await ids(JobFilter(states=frozenset({JobState.CANCELLED, JobState.FAILED}))) == (["job_5"], 1)
    assert await ids(JobFilter(kind=JobKind.EXPORT)) == ([], 0)


async def test_jobs_are_found_by_the_texts_of_their_parameters(kept: Kept) -> None:
    levels = {"job_1": "basic", "job_2": "master", "job_3": 'mas"ter', "job_4": None}
    for name, level in levels.items():
        await add(kept, replace(QUEUED, id=name, parameters={"level": level, "objective": "latency", "batch_size": 1}))
    await add(kept, replace(QUEUED, id="job_5", parameters={}))

    async def ids(**parameters: str) -> list[str]:
        listed = await kept.store.list(JobFilter(parameters=parameters), Page())
        assert listed.total == len(listed.items)
        return [job.id for job in listed.items]

    assert await ids(level="master") == ["job_2"]
    assert await ids(level='mas"ter') == ["job_3"]
    assert await ids(objective="latency", level="basic") == ["job_1"]
    assert await ids(objective="memory", level="basic") == []
    assert await ids(level="None") == await ids(level="null") == await ids(level="' or '1'='1") == []
    assert await ids(objective="latency") == ["job_4", "job_3", "job_2", "job_1"]


async def test_what_is_unfinished_is_told_oldest_first(kept: Kept) -> None:
    later, over = replace(QUEUED, id="job_2", created_at=NOON + timedelta(seconds=1)), replace(QUEUED, id="job_3")
    await add(kept, QUEUED, later, over)
    await kept.store.advance(replace(over, state=JobState.FAILED, finished_at=NOON), said("failed", over))
    await kept.store.advance(replace(later, state=JobState.RUNNING), said("started", later))
    assert [job.id for job in await kept.store.unfinished()] == ["job_1", "job_2"]


async def test_old_jobs_are_forgotten_with_their_events_and_no_others(kept: Kept) -> None:
    names = ("job_old", "job_new", "job_running")
    await add(kept, *(replace(QUEUED, id=name) for name in names))
    for name, finished_at in (("job_old", NOON), ("job_new", NOON + timedelta(days=1))):
        await kept.store.advance(replace(DONE, id=name, finished_at=finished_at), said("completed"))
    assert list(await kept.store.delete_finished(NOON + timedelta(hours=1))) == ["job_old"]
    assert list(await kept.store.delete_finished(NOON + timedelta(hours=1))) == []
    assert [job.id for job in (await kept.store.list(JobFilter(), Page())).items] == ["job_running", "job_new"]
    watch = kept.events.watch(EventFilter(subject="job_old"), 0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), 0.05)
    await watch.aclose()
