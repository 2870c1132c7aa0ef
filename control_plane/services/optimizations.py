"""Optimizations as callers see them: asked for, listed, explained, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, replace
from os.path import isfile  # of a name that is too long it says no, where Path.is_file raises
from pathlib import Path
from typing import Any

from ulid import ULID

from control_plane.domain.access import Principal
from control_plane.domain.errors import InvalidRequest, NotFound, OptimizationNotFound
from control_plane.domain.events import Event
from control_plane.domain.jobs import Job, JobFilter, JobKind, JobState, JsonObject
from control_plane.domain.optimization import Deploy, Level, Objective, OptimizationOptions
from control_plane.domain.paging import Page, Paged
from control_plane.ports import Converter, ConverterCatalog, Workspaces
from control_plane.services.catalog import Catalog
from control_plane.services.grounds import kind_of
from control_plane.services.imports import locate
from control_plane.services.jobs import JobService, NewJob
from control_plane.services.publishing import Publisher
from control_plane.services.verdicts import planned

TOLD_EVERY_S = 0.1  # T-GQL-09: who follows hears of it at most ten times a second


class Optimizations:
    """Each is a job of the kind `optimize`, whose id begins with `opt_`; `services/optimizing.py` is its workflow.

    `Job.parameters`: the fields of OptimizationOptions, `revision` (the number that is optimized) and
    `ignored_parameters`. `Job.result`: what T-REST-13 shows beside the job's own fields.
    """

    def __init__(
        self,
        jobs: JobService,
        catalog: Catalog,
        publisher: Publisher,
        converter: Converter,
        workspaces: Workspaces,
        import_root: Path | None,
    ) -> None:
        self._jobs, self._catalog, self._publisher = jobs, catalog, publisher
        self._converter, self._workspaces, self._import_root = converter, workspaces, import_root

    async def submit(
        self, reference: str, options: OptimizationOptions, ignored: tuple[str, ...], caller: Principal | None
    ) -> Job:
        """Queued when this returns.

        Raises: ModelNotFound, InvalidRequest, NotPermitted, Unsupported for what can be told at once.
        """
        self._publisher.require_own_repository("optimize")
        revision = self._catalog.resolve(reference).revision
        if revision.description.is_internal:
            raise InvalidRequest(f"model {revision.model!r} is a part of the product and is not optimized")
        if options.baseline is not None:
            baseline = self._catalog.resolve(options.baseline).revision
            if baseline.model != revision.model or baseline.backend != revision.backend:
                raise InvalidRequest(
                    f"baseline must be a revision of {revision.model!r} on the same backend, got {options.baseline!r}",
                    field="baseline",
                )
            options = replace(options, baseline=f"{baseline.model}:{baseline.number}")
        if options.eval_data is not None:
            await self._require_file(options.eval_data)
        kind = kind_of(revision)
        if options.recipes:
            planned(await self._converter.catalog(), options, kind)
        parameters: JsonObject = {
            **asdict(options),
            "recipes": list(options.recipes),
            "revision": revision.number,
            "ignored_parameters": list(ignored),
        }
        return await self._jobs.submit(NewJob(f"opt_{ULID()}", JobKind.OPTIMIZE, revision.model, parameters), caller)

    async def _require_file(self, eval_data: str) -> None:
        if not await asyncio.to_thread(isfile, locate(self._import_root, eval_data, "eval_data")):
            raise InvalidRequest(f"eval_data: there is no file {eval_data!r} below the import root", field="eval_data")

    async def get(self, optimization_id: str) -> Job:
        """Raises OptimizationNotFound."""
        try:
            job = await self._jobs.get(optimization_id)
        except NotFound:
            job = None
        if job is None or job.kind is not JobKind.OPTIMIZE:
            raise OptimizationNotFound(f"no optimization {optimization_id[:100]!r}")
        return job

    async def follow(self, optimization_id: str) -> AsyncGenerator[Job, None]:
        """How it is now, then how it is whenever that has changed, at most ten times a second, and last how it ended.

        Ends without the last when the server stops. Raises: OptimizationNotFound.
        """
        job, clock = await self.get(optimization_id), asyncio.get_running_loop()
        yield job
        told_at_s = clock.time()
        async with aclosing(self._jobs.watch(job.id)) as events:
            while not job.state.is_terminal and (event := await anext(events, None)):
                if not _is_news(event, job):
                    continue
                await asyncio.sleep(told_at_s + TOLD_EVERY_S - clock.time())
                latest = await self.get(job.id)
                if latest != job:
                    job = latest
                    yield job
                    told_at_s = clock.time()

    async def list(self, wanted: JobFilter, page: Page, level: Level | None = None) -> Paged[Job]:
        """Newest first."""
        parameters = {} if level is None else {"level": level.value}
        return await self._jobs.list(replace(wanted, kind=JobKind.OPTIMIZE, parameters=parameters), page)

    async def cancel(self, optimization_id: str, caller: Principal) -> Job:
        """Returns when its work has ended and nothing of it is left. Raises OptimizationNotFound, Conflict."""
        return await self._jobs.cancel((await self.get(optimization_id)).id, caller)

    async def evidence(self, optimization_id: str) -> Path:
        """The file with all that was measured. Raises OptimizationNotFound; NotFound where it has not completed."""
        job = await self.get(optimization_id)
        file = self._workspaces.evidence_file(job.id)
        # It is written before what it speaks of is published, which may still be cancelled or fail.
        if job.state is not JobState.COMPLETED or not await asyncio.to_thread(file.is_file):
            raise NotFound(f"optimization {job.id} has no evidence: it is {job.state.value}")
        return file

    async def catalog(self) -> ConverterCatalog:
        """Levels and recipes, and why what is not available here is not."""
        return await self._converter.catalog()


def _is_news(event: Event, job: Job) -> bool:
    """Whether it tells of something that the job as it is known does not; of what happened before that, it need not."""
    told = event.payload
    is_older = float(str(told["progress"])) < job.progress
    return not is_older and (told["state"], told["progress"], told["step"]) != (job.state.value, job.progress, job.step)


def options_of(parameters: JsonObject) -> OptimizationOptions:
    """Of a job's parameters."""
    fields: dict[str, Any] = {name: parameters[name] for name in OptimizationOptions.__dataclass_fields__}
    return OptimizationOptions(
        **{
            **fields,
            "level": Level(fields["level"]),
            "objective": Objective(fields["objective"]),
            "deploy": Deploy(fields["deploy"]),
            "recipes": tuple(fields["recipes"]),
        }
    )
