"""One suite for every Events: the stream on SQLite, and the double; then what only the one on SQLite can get wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import func, select, text

from control_plane.domain.events import Event, EventFilter, NewEvent, Topic
from control_plane.domain.jobs import Job, JobKind
from control_plane.gateways.state import SqlDatabase, open_database
from control_plane.gateways.state import events as module
from control_plane.gateways.state.events import SqlEvents, open_events
from control_plane.gateways.state.jobs import SqlJobStore
from control_plane.gateways.state.tables import events as table
from tests.doubles.clock import FixedClock
from tests.doubles.jobs import InMemoryEvents

CLOCK = FixedClock()
ALL = EventFilter()


class Stream(Protocol):
    def publish(self, event: NewEvent) -> None: ...
    def watch(self, wanted: EventFilter, after: int | None = None) -> AsyncGenerator[Event, None]: ...
    def end_watches(self) -> None: ...


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqlDatabase]:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/state.db") as database:
        yield database


@pytest.fixture(params=["sqlite", "in memory"])
async def stream(request: pytest.FixtureRequest, database: SqlDatabase) -> AsyncIterator[Stream]:
    async with AsyncExitStack() as opened:
        if request.param == "in memory":
            yield InMemoryEvents(CLOCK)
        else:
            yield await opened.enter_async_context(open_events(database, CLOCK))


def publish(stream: Stream, *kinds: str, topic: Topic = Topic.MODEL, subject: str = "coder") -> None:
    for kind in kinds:
        stream.publish(NewEvent(topic, subject, kind, {"kind": kind}))


async def kinds(watch: AsyncIterator[Event], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [(await anext(watch)).kind for _ in range(count)]


async def test_events_are_told_in_the_order_of_their_publication_with_rising_numbers(stream: Stream) -> None:
    publish(stream, *(f"k{n}" for n in range(500)))
    watch = stream.watch(ALL, 0)
    async with asyncio.timeout(10):
        seen = [await anext(watch) for _ in range(500)]
    assert [event.kind for event in seen] == [f"k{n}" for n in range(500)]
    assert [event.seq for event in seen] == list(range(1, 501))
    assert seen[0] == Event(1, CLOCK.now(), Topic.MODEL, "coder", "k0", {"kind": "k0"})


async def test_a_reader_replays_and_then_follows_without_a_gap(stream: Stream) -> None:
    publish(stream, "a", "b")
    assert await kinds(stream.watch(ALL, 0), 2) == ["a", "b"]
    watch = stream.watch(ALL, 1)
    assert await kinds(watch, 1) == ["b"]
    next_one = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    publish(stream, "c", "d")
    assert (await asyncio.wait_for(next_one, 5)).kind == "c"
    assert await kinds(watch, 1) == ["d"]


async def test_a_reader_without_a_place_is_told_what_comes_from_now_on(stream: Stream) -> None:
    publish(stream, "before")
    assert await kinds(stream.watch(ALL, 0), 1) == ["before"]
    watch = stream.watch(ALL)
    coming = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    publish(stream, "after")
    assert (await asyncio.wait_for(coming, 5)).kind == "after"


async def test_a_place_beyond_the_end_means_what_comes_now(stream: Stream) -> None:
    publish(stream, "before")
    assert await kinds(stream.watch(ALL, 0), 1) == ["before"]
    coming = asyncio.create_task(anext(stream.watch(ALL, 10**9)))
    while not coming.done():  # nothing tells when it knows where the end is
        publish(stream, "after")
        await asyncio.sleep(0.01)
    assert (await coming).kind == "after"


async def test_a_filter_lets_through_topics_and_a_subject(stream: Stream) -> None:
    publish(stream, "a", topic=Topic.HEALTH, subject="x:1")
    publish(stream, "b", topic=Topic.REVISION, subject="x:1")
    publish(stream, "c", topic=Topic.REVISION, subject="y:1")
    publish(stream, "d", topic=Topic.MODEL, subject="x:1")
    both = frozenset({Topic.HEALTH, Topic.REVISION})
    assert await kinds(stream.watch(EventFilter(both), 0), 3) == ["a", "b", "c"]
    watch = stream.watch(EventFilter(both, "x:1"), 0)
    assert await kinds(watch, 2) == ["a", "b"]
    publish(stream, "e", topic=Topic.REVISION, subject="x:1")  # the same out of memory
    assert await kinds(watch, 1) == ["e"]


async def test_the_end_of_the_server_ends_every_watch_and_the_next_ones(stream: Stream) -> None:
    waiting = [asyncio.create_task(anext(stream.watch(ALL), None)) for _ in range(3)]
    await asyncio.sleep(0.05)
    stream.end_watches()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [None] * 3
    assert await asyncio.wait_for(anext(stream.watch(ALL, 0), None), 5) is None


async def test_a_reader_that_fell_behind_memory_reads_the_database_and_misses_nothing(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECENT", 10)
    monkeypatch.setattr(module, "PAGE", 7)
    async with open_events(database, CLOCK) as stream:
        slow, quick = stream.watch(ALL, 0), stream.watch(ALL, 0)
        for n in range(100):
            publish(stream, f"k{n}")
            assert await kinds(quick, 1) == [f"k{n}"]
            if n % 9 == 0:
                await kinds(slow, 1)
        assert await kinds(slow, 88) == [f"k{n}" for n in range(12, 100)]


async def test_what_is_published_is_recorded_when_the_stream_closes_and_numbers_go_on(database: SqlDatabase) -> None:
    async with open_events(database, CLOCK) as stream:
        publish(stream, *(f"k{n}" for n in range(300)))
    async with open_events(database, CLOCK) as stream:
        publish(stream, "next")
        watch = stream.watch(ALL, 299)
        assert await kinds(watch, 2) == ["k299", "next"]


async def test_a_number_is_never_given_twice_even_if_the_newest_events_are_gone(database: SqlDatabase) -> None:
    async with open_events(database, CLOCK) as stream:
        publish(stream, "a", "b")
    async with database.writing() as connection:
        await connection.execute(text("DELETE FROM events"))
    async with open_events(database, CLOCK) as stream:
        publish(stream, "c")
        event = await asyncio.wait_for(anext(stream.watch(ALL, 0)), 5)
    assert event.seq == 3


async def test_events_of_a_cancelled_writer_and_late_ones_reach_every_reader(database: SqlDatabase) -> None:
    """Committed, but told of late or never: memory has a hole there, and the database has not."""
    async with open_events(database, CLOCK) as stream:
        watch = stream.watch(ALL, 0)
        coming = asyncio.create_task(anext(watch))
        await asyncio.sleep(0.02)
        async with database.writing() as connection:
            untold = await stream.record(connection, NewEvent(Topic.MODEL, "x", "untold"))
        async with database.writing() as connection:
            late = await stream.record(connection, NewEvent(Topic.MODEL, "x", "late"))
        async with database.writing() as connection:
            told = await stream.record(connection, NewEvent(Topic.MODEL, "x", "told"))
        stream.deliver([told])
        stream.deliver([late])
        assert (await asyncio.wait_for(coming, 5)).kind == "untold"
        assert await kinds(watch, 2) == ["late", "told"]
        assert untold.seq < late.seq < told.seq


async def test_a_thousand_writers_at_once_leave_readers_a_stream_without_gap_or_repetition(
    database: SqlDatabase,
) -> None:
    async with open_events(database, CLOCK) as stream:
        store = SqlJobStore(database, stream)
        readers = [asyncio.create_task(_numbers(stream, 400)) for _ in range(3)]

        async def one(n: int) -> None:
            job = Job(f"job_{n}", JobKind.IMPORT, "m", CLOCK.now(), "lea")
            creating = asyncio.create_task(store.create(job, NewEvent(Topic.JOB, job.id, "queued")))
            publish(stream, "noise")
            await creating

        await asyncio.gather(*(one(n) for n in range(200)))
        assert await asyncio.wait_for(asyncio.gather(*readers), 20) == [list(range(1, 401))] * 3


async def test_only_the_newest_events_that_are_not_of_a_job_are_kept(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 5)
    async with open_events(database, CLOCK) as stream:
        publish(stream, "j", topic=Topic.JOB)
        publish(stream, *(f"k{n}" for n in range(9)))
    async with open_events(database, CLOCK) as stream:
        assert await kinds(stream.watch(ALL, 0), 6) == ["j", "k4", "k5", "k6", "k7", "k8"]
        publish(stream, "k9")
        await stream.forget_old()
    async with database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() <= 7


async def test_events_wait_for_a_database_that_does_not_answer(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    async with open_events(database, CLOCK) as stream:
        async with database.writing() as connection:
            await connection.execute(text("ALTER TABLE events RENAME TO elsewhere"))
        publish(stream, "a", "b")
        await asyncio.sleep(0.1)
        async with database.writing() as connection:
            await connection.execute(text("ALTER TABLE elsewhere RENAME TO events"))
        assert await kinds(stream.watch(ALL, 0), 2) == ["a", "b"]


async def test_an_event_that_is_no_json_is_lost_and_the_next_is_not(database: SqlDatabase) -> None:
    async with open_events(database, CLOCK) as stream:
        stream.publish(NewEvent(Topic.MODEL, "x", "wrong", {"object": object()}))
        await asyncio.sleep(0.05)
        publish(stream, "right")
        assert await kinds(stream.watch(ALL, 0), 1) == ["right"]


async def _numbers(stream: SqlEvents, count: int) -> list[int]:
    watch = stream.watch(ALL, 0)
    return [(await anext(watch)).seq for _ in range(count)]
