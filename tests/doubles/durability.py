"""Durability without a file: what is recorded lives in a dictionary that a test can hand to the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from control_plane.domain.jobs import JsonObject
from control_plane.ports import Step, Workflow


@dataclass
class Record:
    """What would be on disk of a workflow that has begun and is not over."""

    attempts: int = 0
    steps: list[JsonObject] = field(default_factory=list)


class InMemoryDurability:
    """The suite in tests/integration/jobs holds it to what the real one does."""

    def __init__(self, records: dict[str, Record] | None = None, max_concurrent: int = 1) -> None:
        self._records = {} if records is None else records
        self._max_concurrent = max_concurrent
        self._waiting: deque[str] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_closing = False

    async def open(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._waiting.extend(self._records)
        self._grant()

    async def start(self, job_id: str) -> None:
        if job_id not in self._waiting and job_id not in self._running and not self._is_closing:
            self._waiting.append(job_id)
            self._grant()

    async def cancel(self, job_id: str) -> None:
        if job_id in self._waiting:
            self._waiting.remove(job_id)
        elif job_id in self._running:
            task = self._running[job_id]
            task.cancel()
            await asyncio.wait([task])
        self._records.pop(job_id, None)

    async def close(self) -> None:
        self._is_closing = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _grant(self) -> None:
        while self._waiting and len(self._running) < self._max_concurrent and not self._is_closing:
            job_id = self._waiting.popleft()
            self._running[job_id] = asyncio.create_task(self._run(job_id))

    async def _run(self, job_id: str) -> None:
        record = self._records.setdefault(job_id, Record())
        record.attempts += 1
        try:
            await self._workflow(job_id, _RecordedSteps(record))
            self._records.pop(job_id, None)
        finally:
            del self._running[job_id]
            self._grant()


class _RecordedSteps:
    def __init__(self, record: Record) -> None:
        self._record, self._position = record, 0

    @property
    def attempts(self) -> int:
        return self._record.attempts

    async def step(self, name: str, work: Step) -> JsonObject:
        self._position += 1
        if self._position > len(self._record.steps):
            self._record.steps.append(await work())
        return self._record.steps[self._position - 1]
