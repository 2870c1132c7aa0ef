"""Jobs that do what a test tells them, and streams read as a browser reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from httpx_sse import aconnect_sse

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.jobs import Job, JobKind
from control_plane.ports import Progress
from control_plane.services.jobs import NewJob, Run, new_job_id
from tests.contract.served import Served
from tests.doubles.services import World

LEA = Principal("lea", Role.USER)
JOBS = "/native/v1/jobs"


@dataclass
class Work:
    """A workflow: at `hold` it waits until the test lets it go on; `refusal` fails it."""

    hold: bool = False
    refusal: str | None = None
    held: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, run: Run) -> dict[str, object]:
        (run.workspace / "log.txt").write_text("one\ntwo\nthree\n")
        run.report(Progress(0.4, "converting"))
        await run.step("convert", self._convert)
        if self.hold:
            self.held.set()
            await self.go_on.wait()
        if self.refusal:
            raise InvalidRequest(self.refusal, field="architecture")
        return {"revision": 1}

    async def _convert(self) -> dict[str, object]:
        return {}


async def submitted(world: World, work: Work | None = None, kind: JobKind = JobKind.IMPORT, model: str = "new") -> Job:
    """A job of lea's, over unless it is held."""
    work = work or Work()
    world.services.jobs.register(kind, work)
    parameters: dict[str, object] = {"precision": "int8"}
    job = await world.services.jobs.submit(NewJob(new_job_id(), kind, model, parameters), LEA)
    if work.hold:
        await work.held.wait()
        return await world.services.jobs.get(job.id)
    return await world.services.jobs.wait(job.id)


@dataclass(frozen=True)
class Told:
    """A server-sent event."""

    seq: int
    event: str
    data: Any


async def told(http: Served, path: str, headers: dict[str, str] | None = None, **query: Any) -> AsyncIterator[Told]:
    """Events as they come; ends when the server ends the stream."""
    asked = {**http.viewer, **(headers or {})}
    async with aconnect_sse(http.client, "GET", path, headers=asked, params=query) as source:
        source.response.raise_for_status()
        async with aclosing(source.aiter_sse()) as events:  # type: ignore[type-var]
            async for event in events:
                if event.data:
                    yield Told(int(event.id), event.event, json.loads(event.data))
