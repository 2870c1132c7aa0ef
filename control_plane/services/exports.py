"""Exporting a revision as a job: its files gathered, converted where need be, and laid out to be fetched."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ulid import ULID

from control_plane.domain.access import Principal
from control_plane.domain.errors import NotFound
from control_plane.domain.exports import Export, ExportFormat, Way, way_of
from control_plane.domain.jobs import Job, JobKind, JobState, JsonObject
from control_plane.domain.models import Revision
from control_plane.ports import Clock, Converter, ExportShelf, ModelRepository, Progress, Workspaces
from control_plane.services.catalog import Catalog
from control_plane.services.job_runs import part_of, result_of
from control_plane.services.jobs import KEPT, JobService, NewJob, Run, new_job_id

_SOURCE, _EXPORT = "source", "export"  # folders of a job's workspace
_VERSION = "1"
# Shares of an export's progress: what came before each part is done.
_PREPARED, _CONVERTED = 0.3, 0.9


class Exports:
    """An export has the ULID of its job, so the job is all that is kept of it beside its files."""

    def __init__(
        self,
        jobs: JobService,
        catalog: Catalog,
        repository: ModelRepository,
        converter: Converter,
        workspaces: Workspaces,
        shelf: ExportShelf,
        clock: Clock,
        *,
        has_gpu: bool,
    ) -> None:
        self._jobs, self._catalog, self._repository = jobs, catalog, repository
        self._converter, self._workspaces, self._shelf = converter, workspaces, shelf
        self._clock, self._has_gpu = clock, has_gpu
        jobs.register(JobKind.EXPORT, self._export)

    async def sweep(self) -> None:
        """Delete the files of exports whose jobs are forgotten, or did not complete."""
        for export_id in await self._shelf.ids():
            job = await self._job(export_id)
            if self._is_old(export_id) if job is None else _is_given_up(job):
                await self._shelf.delete(export_id)

    async def submit(self, reference: str, wanted: ExportFormat, caller: Principal | None) -> Job:
        """Raises: ModelNotFound, UnsupportedFormat, Unsupported for what can be told at once."""
        revision = self._catalog.resolve(reference).revision
        way_of(revision, wanted, has_gpu=self._has_gpu)
        parameters: JsonObject = {"revision": revision.number, "format": wanted.value}
        return await self._jobs.submit(NewJob(new_job_id(), JobKind.EXPORT, revision.model, parameters), caller)

    async def finished(self, job: Job) -> Export:
        """Wait for an export. Raises what the job failed with, Conflict when it was cancelled."""
        job = await self._jobs.wait(job.id)
        return _export_of(job, result_of(job))

    async def file(self, export_id: str) -> tuple[Export, Path]:
        """A finished export and where its file is. Raises NotFound."""
        job = await self._job(export_id)
        if job is not None and job.state is JobState.COMPLETED:
            export = _export_of(job, result_of(job))
            file = self._shelf.file(export.id, export.file_name)
            if await asyncio.to_thread(file.is_file):
                return export, file
        raise NotFound(f"no export {export_id[:100]!r}")

    async def _job(self, export_id: str) -> Job | None:
        try:
            job = await self._jobs.get(f"job_{export_id.removeprefix('exp_')}")
        except NotFound:
            return None
        return job if job.kind is JobKind.EXPORT and export_id == export_id_of(job) else None

    def _is_old(self, export_id: str) -> bool:
        """As old as jobs that are forgotten: a younger one may be another server's with the same import root."""
        try:
            made_at = ULID.from_str(export_id.removeprefix("exp_")).datetime
        except ValueError:
            return False
        return made_at < self._clock.now() - KEPT

    async def _export(self, run: Run) -> JsonObject:
        run.report(Progress(0.0, "gathering the files"))
        revision, wanted = self._revision(run.job), ExportFormat(str(run.job.parameters["format"]))
        way = way_of(revision, wanted, has_gpu=self._has_gpu)
        made = None
        if way.recipe is not None:
            await self._converter.prepare(part_of(run.report, 0.0, _PREPARED))
            made = await run.step("convert", lambda: self._convert(run, revision, way))
        run.report(Progress(_CONVERTED, "laying out the export"))
        return await run.step("put", lambda: self._put(run, revision, way, made))

    def _revision(self, job: Job) -> Revision:
        number = job.parameters["revision"]
        assert isinstance(number, int)
        return self._catalog.status(job.model, number).revision

    async def _convert(self, run: Run, revision: Revision, way: Way) -> JsonObject:
        source = await asyncio.to_thread(self._workspaces.empty_folder, run.job.id, _SOURCE)
        await self._repository.copy(revision, way.places or {}, source)
        request: JsonObject = {"source": str(source), "steps": [{"recipe": way.recipe, "parameters": {}}]}
        made = await self._converter.convert(run.workspace, request, part_of(run.report, _PREPARED, _CONVERTED))
        return {"folder": (made.directory / _VERSION).relative_to(run.workspace).as_posix()}

    async def _put(self, run: Run, revision: Revision, way: Way, made: JsonObject | None) -> JsonObject:
        export_id = export_id_of(run.job)
        if made is None:
            folder = await self._gathered(run, revision, way)
        else:
            folder = run.workspace / str(made["folder"])
        laid = await self._shelf.put(export_id, folder, way.file_name)
        return {
            "export_id": export_id,
            "revision": revision.number,
            "format": str(run.job.parameters["format"]),
            "file_name": way.file_name,
            "file_path": laid.path,
            "size_bytes": laid.size_bytes,
            "sha256": laid.sha256,
        }

    async def _gathered(self, run: Run, revision: Revision, way: Way) -> Path:
        """A folder with the files of the export."""
        folder = await asyncio.to_thread(self._workspaces.empty_folder, run.job.id, _SOURCE)
        if way.places is None:
            top = folder / revision.model
            await asyncio.to_thread(top.mkdir)
            await self._repository.package(revision, top)
        else:
            await self._repository.copy(revision, way.places, folder)
        if not way.is_packed:
            return folder
        export = await asyncio.to_thread(self._workspaces.empty_folder, run.job.id, _EXPORT)
        await self._shelf.pack(folder, export / way.file_name)
        return export


def export_id_of(job: Job) -> str:
    return f"exp_{job.id.removeprefix('job_')}"


def _is_given_up(job: Job) -> bool:
    return job.state in (JobState.FAILED, JobState.CANCELLED)


def _export_of(job: Job, result: JsonObject) -> Export:
    revision, size_bytes = result["revision"], result["size_bytes"]
    assert isinstance(revision, int)
    assert isinstance(size_bytes, int)
    return Export(
        id=export_id_of(job),
        model=job.model,
        revision=revision,
        format=ExportFormat(str(result["format"])),
        file_name=str(result["file_name"]),
        file_path=str(result["file_path"]),
        size_bytes=size_bytes,
        sha256=str(result["sha256"]),
        created_at=job.finished_at or job.created_at,
    )
