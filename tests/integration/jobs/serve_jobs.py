"""A server of nothing but jobs, until it is killed: `python -m tests.integration.jobs.serve_jobs STATE [COUNT]`.

Submits COUNT jobs, each of STEPS steps that note their beginning and end in `notes.txt`, and ends when none is left.
A job for the model `deadly` kills the server in its first step. ATTEMPTS_MAX of the environment replaces ours.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from control_plane.domain.jobs import JobFilter, JobKind, JobState, JsonObject
from control_plane.domain.paging import Page
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.jobs.durability import DbosDurability
from control_plane.gateways.processes.workspaces import LocalWorkspaces
from control_plane.gateways.state import open_database
from control_plane.gateways.state.events import open_events
from control_plane.gateways.state.jobs import SqlJobStore
from control_plane.ports import Progress
from control_plane.services import jobs as service
from control_plane.services.jobs import JobService, NewJob, Run, new_job_id

STEPS = 6
STEP_S = 0.02


class Worker:
    def __init__(self, state: Path) -> None:
        self._notes = os.open(state / "notes.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def __call__(self, run: Run) -> JsonObject:
        total = 0
        for number in range(STEPS):
            result = await run.step(f"step {number}", lambda number=number: self._step(run, number))  # type: ignore[misc]
            total += int(str(result["number"]))
            run.report(Progress((number + 1) / STEPS, f"{number + 1} done"))
        return {"total": total}

    async def _step(self, run: Run, number: int) -> JsonObject:
        self._note(f"{run.job.id} {number} begun")
        if run.job.model == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(STEP_S)
        self._note(f"{run.job.id} {number} ended")
        return {"number": number}

    def _note(self, line: str) -> None:
        os.write(self._notes, f"{line}\n".encode())


async def main(state: Path, models: list[str]) -> None:
    async with AsyncExitStack() as opened:
        clock = SystemClock()
        database = await opened.enter_async_context(open_database(f"sqlite+aiosqlite:///{state}/state.db"))
        events = await opened.enter_async_context(open_events(database, clock))
        durability = DbosDurability(state / "jobs.db", 1)
        opened.push_async_callback(durability.close)
        jobs = JobService(SqlJobStore(database, events), events, durability, LocalWorkspaces(state), clock)
        jobs.register(JobKind.IMPORT, Worker(state))
        await jobs.sweep()
        await jobs.open()
        sys.stdout.write("open\n")
        sys.stdout.flush()
        for model in models:
            await jobs.submit(NewJob(new_job_id(), JobKind.IMPORT, model, {}), None)
        unfinished = JobFilter(states=frozenset({JobState.QUEUED, JobState.RUNNING}))
        while left := (await jobs.list(unfinished, Page())).items:
            await jobs.wait(left[0].id)


if __name__ == "__main__":
    service.ATTEMPTS_MAX = int(os.environ.get("ATTEMPTS_MAX", service.ATTEMPTS_MAX))
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2:]))
