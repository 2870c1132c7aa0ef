"""Runs workflows so many at once, in the order they were asked for; DBOS records how far each is."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.domain.errors import DomainError
from control_plane.domain.jobs import JsonObject
from control_plane.ports import Step, Workflow

if TYPE_CHECKING:
    from control_plane.gateways.jobs.engine import Engine

log = logging.getLogger(__name__)
ENGINE = "control_plane.gateways.jobs.engine"  # a second to import, that a start of the server need not wait for
RETRY_S = 1.0
IDLE_S = 5.0  # then DBOS is put to rest, whose seven threads look for work every second; to wake it takes 30 ms
INTERRUPTED_WITHIN_S = 5.0


@dataclass(eq=False, slots=True)
class _Turn:
    """A job from `start` to its end. `task` is DBOS's own, in which the workflow runs."""

    job_id: str
    is_recovered: bool = False  # begun by another server; DBOS starts it once it is taken up
    is_cancelled: bool = False
    is_worked: bool = False  # only its end is still being recorded
    task: asyncio.Task[None] | None = None
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class DbosDurability:
    """Only what has a slot is in DBOS's file, and is deleted from it once it is over.

    What waits is kept in memory, in order: who calls `start` keeps it in his own database, and calls again after a
    restart. A queue of DBOS would be polled, and would free the slot of a cancelled job before its work has ended.
    """

    def __init__(self, path: Path, max_concurrent: int) -> None:
        self._path, self._max_concurrent = path, max_concurrent
        self._engine: Engine | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._turns: dict[str, _Turn] = {}
        self._waiting: deque[_Turn] = deque()
        self._granted: set[_Turn] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()  # one after the other, so that they are recorded in order; no rest meanwhile
        self._is_closing = False

    async def open(self, workflow: Workflow) -> None:
        """Takes seconds where DBOS was not imported before; in a thread, so that nobody waits."""
        self._workflow = workflow
        self._module = await asyncio.to_thread(importlib.import_module, ENGINE)
        await asyncio.to_thread(self._module.prepare, self._path)
        left = [job_id for job_id in await self._awake().unfinished() if job_id not in self._turns]
        for job_id in left:
            self._add(_Turn(job_id, is_recovered=True))
        if left:
            self._spawn(self._take_up())
        self._grant()
        self._rest_soon()

    async def start(self, job_id: str) -> None:
        if job_id not in self._turns and not self._is_closing:
            self._add(_Turn(job_id))
            self._grant()

    async def cancel(self, job_id: str) -> None:
        turn = self._turns.get(job_id)
        if turn is None:
            return
        turn.is_cancelled = True
        if turn in self._waiting:
            self._waiting.remove(turn)
            turn.granted.set()
            if not turn.is_recovered:
                self._end(turn)
        if turn.task is not None:
            turn.task.cancel()
        await turn.over.wait()

    async def close(self) -> None:
        """Interrupt what runs; the next server takes it up."""
        self._is_closing = True
        self._rest_soon()
        tasks = [turn.task for turn in self._turns.values() if turn.task is not None]
        for turn in self._turns.values():
            if turn.task is not None and not turn.is_worked:
                turn.task.cancel()
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=INTERRUPTED_WITHIN_S)
            if stubborn:
                log.error("jobs do not end when interrupted", extra={"count": len(stubborn)})
        await asyncio.sleep(0)  # what ended has its callbacks, which may begin a chore
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._destroy()

    def _awake(self) -> Engine:
        if self._engine is None:
            self._engine = self._module.launch(self._path, self._body)
        return self._engine

    def _rest_soon(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        if not self._turns and not self._is_closing:
            loop = asyncio.get_running_loop()
            self._rest_timer = loop.call_later(IDLE_S, lambda: self._spawn(self._rest()))

    async def _rest(self) -> None:
        async with self._starting:
            if not self._turns:
                await self._destroy()

    async def _destroy(self) -> None:
        if self._engine is not None:
            # DBOS made its own threads the loop's default, and ends them now.
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
            await asyncio.to_thread(self._module.destroy)
            self._engine = None

    def _add(self, turn: _Turn) -> None:
        self._turns[turn.job_id] = turn
        self._waiting.append(turn)

    def _grant(self) -> None:
        while self._waiting and len(self._granted) < self._max_concurrent and not self._is_closing:
            turn = self._waiting.popleft()
            self._granted.add(turn)
            turn.granted.set()
            if not turn.is_recovered:
                self._spawn(self._begin(turn))

    async def _take_up(self) -> None:
        while not self._is_closing:
            try:
                return await self._awake().take_up()
            except DomainError as error:
                log.error("jobs are not taken up yet", extra={"reason": error.message})
                await asyncio.sleep(RETRY_S)

    async def _begin(self, turn: _Turn) -> None:
        while not turn.is_cancelled and not self._is_closing:
            try:
                async with self._starting:
                    await self._awake().start(turn.job_id)
            except DomainError as error:
                log.error("a job cannot be started yet", extra={"job": turn.job_id, "reason": error.message})
                await asyncio.sleep(RETRY_S)
            else:
                return
        self._end(turn)

    async def _body(self, job_id: str) -> None:
        """What DBOS runs, in a task of its own. Ended by CancelledError, it is not over for DBOS."""
        turn = self._turns.get(job_id)
        if turn is None or self._is_closing:
            raise asyncio.CancelledError
        turn.task = asyncio.current_task()
        assert turn.task is not None
        turn.task.add_done_callback(lambda task: self._spawn(self._settle(turn, is_over=not task.cancelled())))
        await turn.granted.wait()
        if turn.is_cancelled:
            return
        try:
            await self._workflow(job_id, await self._steps(turn))
        except Exception:
            log.exception("a workflow failed unexpectedly", extra={"job": job_id})
        turn.is_worked = True

    async def _steps(self, turn: _Turn) -> _RecordedSteps:
        assert self._engine is not None
        attempts = 1
        if turn.is_recovered:  # asked outside of the workflow, of which it would become a step
            asking = self._engine.attempts(turn.job_id)
            attempts = await asyncio.create_task(asking, context=contextvars.Context())
        return _RecordedSteps(self._engine, attempts)

    async def _settle(self, turn: _Turn, *, is_over: bool) -> None:
        assert self._engine is not None
        if is_over or turn.is_cancelled:
            try:
                await self._engine.forget(turn.job_id)
            except DomainError as error:  # it is forgotten when the next server opens
                log.error("a job's steps are left behind", extra={"job": turn.job_id, "reason": error.message})
        self._end(turn)

    def _end(self, turn: _Turn) -> None:
        self._turns.pop(turn.job_id, None)
        self._granted.discard(turn)
        turn.over.set()
        self._grant()
        self._rest_soon()

    def _spawn(self, chore: Coroutine[None, None, None]) -> None:
        # In a context of its own: started out of a workflow, it would count as part of that.
        task = asyncio.get_running_loop().create_task(chore, context=contextvars.Context())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


class _RecordedSteps:
    def __init__(self, engine: Engine, attempts: int) -> None:
        self._engine, self._attempts = engine, attempts

    @property
    def attempts(self) -> int:
        return self._attempts

    async def step(self, name: str, work: Step) -> JsonObject:
        return await self._engine.step(name, work)


@asynccontextmanager
async def dbos_durability(path: Path, max_concurrent: int) -> AsyncIterator[DbosDurability]:
    """Not opened yet: that is for who brings the workflow."""
    durability = DbosDurability(path, max_concurrent)
    try:
        yield durability
    finally:
        await durability.close()
