"""A load generator without load: what it measures follows from the settings that a model was staged with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from control_plane.domain.errors import DomainError
from control_plane.domain.models import Description, LoadOptions, Revision, Signature
from control_plane.ports import Profile, ProfileRequest, Report
from tests.doubles.repository import VECTOR, InMemoryRepository

Speed = Callable[[LoadOptions, int], tuple[float, float]]


class RecordingRepository(InMemoryRepository):
    """`staged`: the settings of each call; `layouts`: with its directory.

    `refusals`: what settings with such a value are refused with.
    """

    def __init__(self, *revisions: Revision) -> None:
        super().__init__(*revisions)
        self.staged: list[LoadOptions] = []
        self.layouts: list[tuple[str, LoadOptions]] = []
        self.refusals: dict[tuple[str, int], DomainError] = {}

    async def stage(
        self, source: Path, directory: str, description: Description, settings: LoadOptions, folder: Path
    ) -> Signature:
        for (name, value), refusal in self.refusals.items():
            if getattr(settings, name) == value:
                raise refusal
        self.staged.append(settings)
        self.layouts.append((directory, settings))
        await super().stage(source, directory, description, settings, folder)
        return replace(VECTOR, max_batch_size=settings.max_batch_size or 0)


class InMemoryProfiler:
    """Satisfies `Profiler`. `speed`: requests a second and p99 in seconds, of settings and a concurrency.

    `fail`: called before each profile, and may raise. `slow_s`: how long each takes.
    """

    def __init__(self, repository: RecordingRepository, speed: Speed) -> None:
        self._repository, self.speed = repository, speed
        self.requests: list[ProfileRequest] = []
        self.fail: Callable[[LoadOptions, ProfileRequest], None] = lambda settings, request: None
        self.slow_s = 0.0

    async def prepare(self, report: Report) -> None: ...

    async def profile(self, request: ProfileRequest) -> Profile:
        settings = self._repository.staged[-1]
        self.requests.append(request)
        request.folder.mkdir(parents=True, exist_ok=True)
        (request.folder / "requests.json").write_text("[]")
        self.fail(settings, request)
        await asyncio.sleep(self.slow_s)
        rate, p99_s = self.speed(settings, request.concurrency)
        return Profile("in memory", request.concurrency, rate, p99_s / 2, p99_s / 1.1, p99_s, 100)

    def concurrencies(self) -> Sequence[int]:
        return [request.concurrency for request in self.requests]
