"""Jobs and events without a database, workspaces without a state directory."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from control_plane.domain.errors import Conflict
from control_plane.domain.events import Event, EventFilter, NewEvent
from control_plane.domain.jobs import Job, JobFilter
from control_plane.domain.paging import Page, Paged
from control_plane.ports import Clock


class InMemoryEvents:
    """`recorded` is all that happened; `watching` counts those who follow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.recorded: list[Event] = []
        self._news = asyncio.Event()
        self._is_over = False
        self.watching = 0

    def publish(self, event: NewEvent) -> None:
        seq = len(self.recorded) + 1
        self.recorded.append(Event(seq, self._clock.now(), event.topic, event.subject, event.kind, dict(event.payload)))
        self._wake()

    async def watch(self, wanted: EventFilter, after: int | None = None) -> AsyncGenerator[Event, None]:
        position = len(self.recorded) if after is None else min(after, len(self.recorded))
        self.watching += 1
        try:
            while not self._is_over:
                news, known = self._news, len(self.recorded)
                for event in self.recorded[position:known]:
                    if wanted.wants(event):
                        yield event
                position = known
                if known == len(self.recorded):
                    await news.wait()
        finally:
            self.watching -= 1

    def end_watches(self) -> None:
        self._is_over = True
        self._wake()

    def forget(self, subject: str) -> None:
        # The numbers of the others stay as they are.
        self.recorded = [
            replace(event, subject="forgotten") if event.subject == subject else event for event in self.recorded
        ]

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class InMemoryJobStore:
    def __init__(self, events: InMemoryEvents) -> None:
        self._jobs: dict[str, Job] = {}
        self._events = events

    async def create(self, job: Job, event: NewEvent) -> None:
        if job.id in self._jobs:
            raise Conflict(f"a job {job.id!r} exists already")
        self._jobs[job.id] = job
        self._events.publish(event)

    async def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    async def list(self, wanted: JobFilter, page: Page) -> Paged[Job]:
        newest = sorted(self._jobs.values(), key=lambda job: (job.created_at, job.id), reverse=True)
        matching = [job for job in newest if _matches(job, wanted)]
        return Paged(matching[page.offset : page.offset + page.limit], len(matching))

    async def unfinished(self) -> Sequence[Job]:
        return [job for job in self._jobs.values() if not job.state.is_terminal]

    async def advance(self, job: Job, event: NewEvent) -> bool:
        if job.id not in self._jobs or self._jobs[job.id].state.is_terminal:
            return False
        self._jobs[job.id] = job
        self._events.publish(event)
        return True

    async def delete_finished(self, before: datetime) -> Sequence[str]:
        old = [job.id for job in self._jobs.values() if job.finished_at is not None and job.finished_at < before]
        for job_id in old:
            del self._jobs[job_id]
            self._events.forget(job_id)
        return old


def _matches(job: Job, wanted: JobFilter) -> bool:
    return (
        wanted.kind in (None, job.kind)
        and wanted.model in (None, job.model)
        and (not wanted.states or job.state in wanted.states)
        and all(job.parameters.get(name) == text for name, text in wanted.parameters.items())
    )


class TemporaryWorkspaces:
    """Folders that are gone with this object."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name)

    def create(self, job_id: str) -> Path:
        folder = self.root / job_id
        folder.mkdir(exist_ok=True)
        return folder

    def empty_folder(self, job_id: str, name: str) -> Path:
        folder = self.create(job_id) / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def clean(self, job_id: str) -> None:
        for path in (self.root / job_id).glob("*"):
            if path.name not in ("log.txt", "evidence.json", "reproduce.sh", "job.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def delete(self, job_id: str) -> None:
        shutil.rmtree(self.root / job_id, ignore_errors=True)

    def ids(self) -> Sequence[str]:
        return sorted(path.name for path in self.root.iterdir())

    def evidence_file(self, job_id: str) -> Path:
        return self.root / job_id / "evidence.json"

    def log_file(self, job_id: str) -> Path:
        return self.root / job_id / "log.txt"
