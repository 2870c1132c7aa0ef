"""A server that is killed in the middle of its jobs, and the next ones that go on with them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from control_plane.domain.events import EventFilter
from control_plane.domain.jobs import Job, JobFilter, JobState
from control_plane.domain.paging import Page
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.state import open_database
from control_plane.gateways.state.events import open_events
from control_plane.gateways.state.jobs import SqlJobStore
from tests.integration.jobs.serve_jobs import STEP_S, STEPS

ATTEMPTS_MAX = 3  # the product allows more, but each death takes a test two seconds
MODELS = list("abcdef")  # more than can be done in three short lives
JOB_S = STEPS * STEP_S  # at least
ENDS = {state.value for state in JobState if state.is_terminal}


def live(state: Path, life_s: float, *models: str, is_counted_from_work: bool = True) -> bool:
    """One server, killed so long after it began to work, or opened its jobs; whether all was done before."""
    begun = noted(state)
    command = [sys.executable, "-m", "tests.integration.jobs.serve_jobs", str(state), *models]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        while is_counted_from_work and noted(state) == begun and server.poll() is None:
            time.sleep(0.002)
        try:
            return server.wait(life_s) == 0
        except subprocess.TimeoutExpired:
            server.kill()
            return False


def noted(state: Path) -> int:
    notes = state / "notes.txt"
    return notes.stat().st_size if notes.exists() else 0


async def left(state: Path) -> tuple[list[Job], dict[str, list[str]]]:
    """Every job, oldest first, and what was told of each."""
    told: dict[str, list[str]] = defaultdict(list)
    clock = SystemClock()
    async with (
        open_database(f"sqlite+aiosqlite:///{state}/state.db") as database,
        open_events(database, clock) as events,
    ):
        jobs = list((await SqlJobStore(database, events).list(JobFilter(), Page())).items)[::-1]
        watch = events.watch(EventFilter(), 0)
        while sum(bool(ENDS & set(kinds)) for kinds in told.values()) < len(jobs):
            event = await anext(watch)
            told[event.subject].append(event.kind)
    return jobs, told


def check_notes(state: Path, jobs: list[Job]) -> None:
    """A step is begun again only if its end was not recorded, which it is before the next one begins."""
    last = {job.id: -1 for job in jobs}
    order: list[str] = []
    for line in (state / "notes.txt").read_text().splitlines():
        job_id, number, what = line.split()
        if what == "begun":
            assert int(number) in (last[job_id], last[job_id] + 1), line
            last[job_id] = int(number)
            order += [] if order[-1:] == [job_id] else [job_id]
    assert set(last.values()) == {STEPS - 1}
    assert order == [job.id for job in jobs]  # one at a time, in the order of their submission


@pytest.mark.parametrize("at_most", [5, pytest.param(15, marks=pytest.mark.soak)])
async def test_c_persist_01_killed_at_any_moment_every_job_ends_and_no_finished_step_is_done_again(
    tmp_path: Path, at_most: int
) -> None:
    chance = random.Random(7)
    is_done = live(tmp_path, chance.uniform(0.0, JOB_S / 2), *MODELS)
    kills = 1
    while not is_done:
        if kills == at_most:
            is_done = live(tmp_path, 60)
        elif kills % 2:
            is_done = live(tmp_path, chance.uniform(0.0, 2 * JOB_S), is_counted_from_work=False)
        else:
            is_done = live(tmp_path, chance.uniform(0.0, JOB_S))
        kills += 1
    jobs, told = await left(tmp_path)
    assert kills > 3
    assert [job.model for job in jobs] == MODELS
    assert {job.state for job in jobs} == {JobState.COMPLETED}
    assert {str(job.result) for job in jobs} == {str({"total": sum(range(STEPS))})}
    assert sum(kinds.count("resumed") for kinds in told.values()) >= 1
    for kinds in told.values():
        assert [kinds.count(once) for once in ("queued", "started", "completed")] == [1, 1, 1]
    check_notes(tmp_path, jobs)


async def test_c_persist_01_a_job_that_kills_every_server_is_given_up_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTEMPTS_MAX", str(ATTEMPTS_MAX))
    deaths = 0
    is_done = live(tmp_path, 60, "deadly", "harmless")
    while not is_done:
        deaths += 1
        is_done = live(tmp_path, 60)
    deadly, harmless = (await left(tmp_path))[0]
    assert deaths == ATTEMPTS_MAX
    assert deadly.state is JobState.FAILED
    assert deadly.failure is not None
    assert "given up" in deadly.failure.message
    assert harmless.state is JobState.COMPLETED
