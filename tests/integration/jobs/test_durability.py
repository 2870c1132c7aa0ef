"""One suite for every Durability: the one on DBOS, and the double that other tests use in its place."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from control_plane.domain.errors import DomainError, EngineFailed
from control_plane.domain.jobs import JsonObject
from control_plane.gateways.jobs import durability as module
from control_plane.gateways.jobs.durability import DbosDurability
from control_plane.ports import Steps
from tests.disks import small_disk
from tests.doubles.durability import InMemoryDurability, Record

Made = DbosDurability | InMemoryDurability
Body = Callable[[str, Steps], Awaitable[None]]


class Servers:
    """One after the other on one record; `open` ends the one before as a stop of the server would."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        self._make = make
        self.present: Made | None = None

    async def open(self, body: Body, max_concurrent: int = 1) -> Made:
        await self.close()
        self.present = self._make(max_concurrent)
        await self.present.open(body)
        return self.present

    async def close(self) -> None:
        if self.present is not None:
            await self.present.close()
        self.present = None


@pytest.fixture(params=["dbos", "in memory"])
async def servers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Servers]:
    records: dict[str, Record] = {}
    makers: dict[str, Callable[[int], Made]] = {
        "dbos": lambda limit: DbosDurability(tmp_path / "jobs.db", limit),
        "in memory": lambda limit: InMemoryDurability(records, limit),
    }
    servers = Servers(makers[request.param])
    yield servers
    await servers.close()


class Notes:
    """What workflows did, in order; `said` waits for a note."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._changed = asyncio.Condition()

    async def add(self, note: str) -> None:
        async with self._changed:
            self.all.append(note)
            self._changed.notify_all()

    async def said(self, *notes: str) -> None:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: set(notes) <= set(self.all))

    def step(self, note: str, result: JsonObject | None = None) -> Callable[[], Awaitable[JsonObject]]:
        async def work() -> JsonObject:
            await self.add(note)
            return result or {}

        return work


async def test_a_workflow_runs_soon_after_its_start_and_its_steps_return_their_results(servers: Servers) -> None:
    notes, results = Notes(), []

    async def body(job_id: str, steps: Steps) -> None:
        results.append(await steps.step("one", notes.step("one", {"deep": [1, {"é": None}]})))
        results.append({"attempts": steps.attempts})
        await notes.add(f"{job_id} over")

    durability = await servers.open(body)
    started = monotonic()
    await durability.start("job_a")
    await notes.said("job_a over")

    assert monotonic() - started < 2  # 20 ms where nothing else runs
    assert results == [{"deep": [1, {"é": None}]}, {"attempts": 1}]


async def test_everything_runs_in_the_loop_that_opened_it(servers: Servers) -> None:
    notes, loops = Notes(), set()

    async def step() -> JsonObject:
        loops.add((asyncio.get_running_loop(), threading.current_thread()))
        return {}

    async def body(job_id: str, steps: Steps) -> None:
        await step()
        await steps.step("one", step)
        await notes.add(f"{job_id} at two")
        if job_id.endswith("b") and steps.attempts == 1:
            await asyncio.Event().wait()
        await notes.add(f"{job_id} over")

    durability = await servers.open(body)
    await durability.start("job_a")
    await durability.start("job_b")
    await notes.said("job_a over", "job_b at two")
    await servers.open(body)  # which takes job_b up again
    await notes.said("job_b over")

    assert loops == {(asyncio.get_running_loop(), threading.main_thread())}


@pytest.mark.parametrize("limit", [1, 2])
async def test_so_many_run_at_once_and_the_others_follow_in_order(servers: Servers, limit: int) -> None:
    notes, go_on = Notes(), asyncio.Event()

    async def body(job_id: str, steps: Steps) -> None:
        await notes.add(job_id)
        await steps.step("one", notes.step(f"{job_id} step"))
        await go_on.wait()
        await notes.add(f"{job_id} over")

    durability = await servers.open(body, limit)
    for job_id in "abcd":
        await durability.start(job_id)
    await notes.said(*(f"{job_id} step" for job_id in "abcd"[:limit]))
    assert [note for note in notes.all if len(note) == 1] == list("abcd"[:limit])

    go_on.set()
    await notes.said(*(f"{job_id} over" for job_id in "abcd"))
    assert [note for note in notes.all if len(note) == 1] == list("abcd")


async def test_starting_what_waits_or_runs_already_changes_nothing(servers: Servers) -> None:
    notes, go_on = Notes(), asyncio.Event()

    async def body(job_id: str, steps: Steps) -> None:
        await notes.add(job_id)
        await go_on.wait()
        await notes.add(f"{job_id} over")

    durability = await servers.open(body)
    for job_id in ("a", "b", "a", "b"):
        await durability.start(job_id)
    await notes.said("a")
    go_on.set()
    await notes.said("b over")
    await durability.start("c")
    await notes.said("c over")
    assert notes.all == ["a", "a over", "b", "b over", "c", "c over"]


async def test_what_a_step_raises_comes_through_as_it_is_and_the_step_is_done_again(servers: Servers) -> None:
    notes, caught = Notes(), []
    failure = EngineFailed("the graph is cyclic", node="Add_7", unpicklable=lambda: None)

    async def failing() -> JsonObject:
        raise failure

    async def body(job_id: str, steps: Steps) -> None:
        try:
            await steps.step("one", failing if steps.attempts == 1 else notes.step("one done"))
        except DomainError as error:
            caught.append(error)
            await notes.add("caught")
            await asyncio.Event().wait()
        await notes.add("over")

    durability = await servers.open(body)
    await durability.start("a")
    await notes.said("caught")
    assert caught == [failure]

    await servers.open(body)
    await notes.said("over")
    assert notes.all == ["caught", "one done", "over"]


async def test_a_stopped_server_leaves_its_work_to_the_next_one_step_by_step(servers: Servers) -> None:
    notes, results = Notes(), []

    async def body(job_id: str, steps: Steps) -> None:
        results.append(await steps.step("one", notes.step(f"{job_id}1", {"n": 1})))
        results.append(await steps.step("two", notes.step(f"{job_id}2", {"n": 2})))
        if steps.attempts < 3:
            await notes.add(f"{job_id} waits {steps.attempts}")
            await asyncio.Event().wait()
        await steps.step("three", notes.step(f"{job_id}3"))
        await notes.add(f"{job_id} over")

    durability = await servers.open(body)
    await durability.start("a")
    await notes.said("a waits 1")
    await servers.open(body)
    await notes.said("a waits 2")
    await servers.open(body)
    await notes.said("a over")

    assert notes.all == ["a1", "a2", "a waits 1", "a waits 2", "a3", "a over"]
    assert results == [{"n": 1}, {"n": 2}] * 3


async def test_what_was_running_goes_on_before_what_is_queued_anew(servers: Servers) -> None:
    notes = Notes()

    async def body(job_id: str, steps: Steps) -> None:
        await notes.add(job_id)
        if steps.attempts == 1 and job_id in "ab":
            await asyncio.Event().wait()
        await notes.add(f"{job_id} over")

    durability = await servers.open(body, 2)
    for job_id in "abcd":
        await durability.start(job_id)
    await notes.said("a", "b")
    durability = await servers.open(body, 1)
    for job_id in "abcd":  # as JobService does
        await durability.start(job_id)
    await notes.said("d over")
    assert [note for note in notes.all if len(note) == 1] == list("ababcd")


async def test_cancel_interrupts_the_work_waits_for_its_end_and_only_then_frees_the_slot(servers: Servers) -> None:
    notes, may_end = Notes(), asyncio.Event()

    async def stubborn() -> JsonObject:
        await notes.add("working")
        try:
            await asyncio.Event().wait()
        finally:
            await notes.add("interrupted")
            await may_end.wait()
            await notes.add("ended")
        return {}

    async def body(job_id: str, steps: Steps) -> None:
        if job_id == "a":
            await steps.step("one", stubborn)
        await notes.add(f"{job_id} over")

    durability = await servers.open(body)
    await durability.start("a")
    await durability.start("b")
    await notes.said("working")
    cancelling = asyncio.create_task(durability.cancel("a"))
    await notes.said("interrupted")
    await asyncio.sleep(0.05)
    assert not cancelling.done()
    may_end.set()
    await cancelling
    await notes.said("b over")
    assert notes.all == ["working", "interrupted", "ended", "b over"]

    await servers.open(body)
    await durability.cancel("a")
    await durability.cancel("never seen")
    await asyncio.sleep(0.05)
    assert notes.all[-1] == "b over"


async def test_what_waits_and_what_was_just_taken_up_can_be_cancelled(servers: Servers) -> None:
    notes = Notes()

    async def body(job_id: str, steps: Steps) -> None:
        await notes.add(job_id)
        await asyncio.Event().wait()

    durability = await servers.open(body)
    await durability.start("a")
    await durability.start("b")
    await notes.said("a")
    await durability.cancel("b")
    durability = await servers.open(body)
    await durability.cancel("a")
    durability = await servers.open(body)
    await durability.start("c")
    await notes.said("c")
    assert [note for note in notes.all if note != "c"] in (["a"], ["a", "a"])


async def test_a_workflow_that_is_over_can_be_started_anew(servers: Servers) -> None:
    """The database of the product may know less than ours; then it is done again from the beginning."""
    notes = Notes()

    async def body(job_id: str, steps: Steps) -> None:
        await steps.step("one", notes.step(f"{life} one"))
        await notes.add(f"{life} over")

    for life in ("first", "second"):
        durability = await servers.open(body)
        await durability.start("a")
        await notes.said(f"{life} over")
    assert notes.all == ["first one", "first over", "second one", "second over"]


async def test_closing_is_quick_quiet_and_leaves_no_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # what asyncio says of tasks that earlier tests left behind is not said here
    caplog.set_level(logging.WARNING)
    caplog.clear()
    notes = Notes()

    async def body(job_id: str, steps: Steps) -> None:
        await notes.add(job_id)
        await steps.step("one", lambda: asyncio.Event().wait())  # type: ignore[arg-type, return-value]

    before = {thread for thread in threading.enumerate() if "asyncio" not in thread.name}
    durability = DbosDurability(tmp_path / "jobs.db", 2)
    await durability.open(body)
    for job_id in "abc":
        await durability.start(job_id)
    await notes.said("a", "b")
    await durability.cancel("b")
    await notes.said("c")
    started = monotonic()
    await durability.close()

    assert monotonic() - started < 2  # 0.2 s where nothing else runs
    assert {thread for thread in threading.enumerate() if "asyncio" not in thread.name} <= before
    gc.collect()  # nor has it left any of its own
    assert caplog.records == []
    assert await asyncio.to_thread(lambda: 1) == 1  # the loop has threads of its own again


async def test_an_idle_server_has_no_thread_of_dbos_and_wakes_it_for_the_next_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    notes = Notes()

    async def body(job_id: str, steps: Steps) -> None:
        await steps.step("one", notes.step(f"{job_id} one"))
        await notes.add(f"{job_id} over")

    durability = DbosDurability(tmp_path / "jobs.db", 1)
    await durability.open(body)
    for job_id in "abc":
        for _ in range(1000):
            if not any("queue" in thread.name for thread in threading.enumerate()):
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError("DBOS is still awake")
        await durability.start(job_id)
        await notes.said(f"{job_id} over")
    await durability.close()
    assert notes.all == [f"{job_id} {what}" for job_id in "abc" for what in ("one", "over")]


async def test_a_file_that_is_no_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_text("something else " * 1000)

    async def body(job_id: str, steps: Steps) -> None: ...

    durability = DbosDurability(tmp_path / "jobs.db", 1)
    with pytest.raises(DomainError, match=r"jobs\.db cannot be opened"):
        await durability.open(body)
    await durability.close()


async def test_what_a_full_disk_keeps_from_being_taken_up_is_taken_up_when_there_is_room(tmp_path: Path) -> None:
    notes = Notes()

    async def body(job_id: str, steps: Steps) -> None:
        await notes.add(f"{job_id} {steps.attempts}")
        if steps.attempts == 1:
            await asyncio.Event().wait()

    with small_disk(tmp_path / "disk", 8) as disk:
        durability = DbosDurability(disk.path / "jobs.db", 1)
        await durability.open(body)
        await durability.start("a")
        await notes.said("a 1")
        # As after a kill, its log is not written back into the file: the next record needs room.
        with closing(sqlite3.connect(disk.path / "jobs.db")) as watcher:
            watcher.execute("SELECT count(*) FROM workflow_status").fetchone()
            await durability.close()
            disk.fill()
            durability = DbosDurability(disk.path / "jobs.db", 1)
            await durability.open(body)
            await asyncio.sleep(0.5)  # it is tried meanwhile
            assert notes.all == ["a 1"]
            disk.empty()
            await notes.said("a 2")
            await durability.close()
