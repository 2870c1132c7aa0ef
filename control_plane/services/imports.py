"""Importing a model as a job: received, converted where need be, published."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from control_plane.domain.access import Principal
from control_plane.domain.errors import DomainError, InvalidRequest, NotFound, NotPermitted, Unsupported
from control_plane.domain.imports import ImportOptions, SourceFormat
from control_plane.domain.jobs import Job, JobKind, JsonObject
from control_plane.domain.models import LoadOptions, Revision, TensorSpec, description_from_json
from control_plane.domain.references import check_new_name
from control_plane.ports import Converter, ModelRepository, Progress, Workspaces
from control_plane.services.catalog import Catalog
from control_plane.services.job_runs import part_of, result_of
from control_plane.services.jobs import JobService, NewJob, Run, new_job_id
from control_plane.services.models import Models
from control_plane.services.publishing import NewRevision, Publisher

# Where an upload arrives in its job's workspace, and where what was received lies.
UPLOAD, SOURCE = "upload", "source"
# Shares of an import's progress: what came before each part is done.
_RECEIVED, _PREPARED, _CONVERTED = 0.05, 0.3, 0.95


@dataclass(frozen=True, slots=True)
class NewImport:
    """A model to come. An upload lies in the workspace of the job that it was received for; else `file_path` counts.

    `file_path` is relative to the import root; `label` names the source for people.
    """

    model: str
    job_id: str
    label: str
    file_path: str | None = None
    options: ImportOptions = field(default_factory=ImportOptions)


class Imports:
    """Every import, and every change of a configuration that a client asks for by name, is a job."""

    def __init__(
        self,
        jobs: JobService,
        models: Models,
        publisher: Publisher,
        repository: ModelRepository,
        converter: Converter,
        workspaces: Workspaces,
        catalog: Catalog,
        root: Path | None,
    ) -> None:
        self._jobs, self._models, self._publisher = jobs, models, publisher
        self._repository, self._converter, self._workspaces = repository, converter, workspaces
        self._catalog, self._root = catalog, root
        jobs.register(JobKind.IMPORT, self._import)
        jobs.register(JobKind.CONFIGURE, self._configure)

    async def place_for_upload(self, model: str) -> tuple[str, Path]:
        """A job's id and the folder to receive its upload in. Given up, `discard` it.

        Raises: Unavailable (disk full); InvalidRequest, Unsupported for what no upload can make good.
        """
        self._check(model)
        job_id = new_job_id()
        return job_id, await asyncio.to_thread(self._workspaces.empty_folder, job_id, UPLOAD)

    async def discard(self, job_id: str) -> None:
        await asyncio.to_thread(self._workspaces.delete, job_id)

    async def submit(self, wanted: NewImport, caller: Principal | None) -> Job:
        """Raises: InvalidRequest, NotPermitted, Unsupported for what can be told at once."""
        self._check(wanted.model)
        if wanted.file_path is not None:
            locate(self._root, wanted.file_path)
        parameters: JsonObject = {
            "source": wanted.label,
            "file_path": wanted.file_path,
            "precision": wanted.options.precision,
            "inputs": [asdict(spec) for spec in wanted.options.inputs],
        }
        try:
            return await self._jobs.submit(NewJob(wanted.job_id, JobKind.IMPORT, wanted.model, parameters), caller)
        except DomainError:
            await self._discard_unless_submitted(wanted.job_id)
            raise

    async def _discard_unless_submitted(self, job_id: str) -> None:
        """An upload that no job will ever read is not left on the disk until the next start."""
        try:
            await self._jobs.get(job_id)
        except NotFound:
            await self.discard(job_id)

    def _check(self, model: str) -> None:
        self._publisher.require_own_repository("import")
        check_new_name(model)

    async def submit_change(self, reference: str, options: LoadOptions, caller: Principal) -> Job:
        """A new revision of the same files with another configuration. Raises ModelNotFound, InvalidRequest."""
        base = self._catalog.resolve(reference).revision
        if not options.changes_config:
            raise InvalidRequest("the configuration changes nothing: name at least one setting", field="config")
        parameters: JsonObject = {"base": base.number, "config": asdict(options)}
        return await self._jobs.submit(NewJob(new_job_id(), JobKind.CONFIGURE, base.model, parameters), caller)

    async def finished(self, job: Job) -> tuple[Revision, JsonObject]:
        """Wait for an import: its revision and the job's result. Raises what the job failed with, Conflict."""
        result = result_of(await self._jobs.wait(job.id))
        number = result["revision"]
        assert isinstance(number, int)
        return self._catalog.status(job.model, number).revision, result

    async def _import(self, run: Run) -> JsonObject:
        received = await run.step("receive", lambda: self._receive(run))
        source_format = SourceFormat(str(received["format"]))
        made = await self._converted(run, source_format)
        run.report(Progress(_CONVERTED, "publishing"))
        reserved = await run.step("reserve", lambda: self._reserve(run))
        revision = await run.step("publish", lambda: self._publish(run, reserved, made))
        return {**revision, "format": source_format.value}

    async def _receive(self, run: Run) -> JsonObject:
        run.report(Progress(0.0, "receiving the source"))
        file_path, label = run.job.parameters["file_path"], str(run.job.parameters["source"])
        if isinstance(file_path, str):
            origin = await asyncio.to_thread(locate, self._root, file_path)
        else:
            origin = await asyncio.to_thread(_only_file, run.workspace / UPLOAD)
        folder = await asyncio.to_thread(self._workspaces.empty_folder, run.job.id, SOURCE)
        return {"format": (await self._repository.receive(origin, label, folder)).value}

    async def _converted(self, run: Run, source_format: SourceFormat) -> JsonObject | None:
        precision = run.job.parameters["precision"]
        if source_format is SourceFormat.TRITON and precision is not None:
            raise InvalidRequest(
                "a Triton model directory is imported as it is; leave precision out, or import the model it was made "
                "from",
                field="precision",
            )
        if source_format is not SourceFormat.TORCH and run.job.parameters["inputs"]:
            raise InvalidRequest(
                f"only a TorchScript file is told its inputs; a source of the format {source_format.value} says them "
                "itself: leave input out",
                field="input",
            )
        if not source_format.must_be_converted and precision is None:
            return None
        await self._converter.prepare(part_of(run.report, _RECEIVED, _PREPARED))
        return await run.step("convert", lambda: self._convert(run, source_format))

    async def _convert(self, run: Run, source_format: SourceFormat) -> JsonObject:
        asked = run.job.parameters
        request: JsonObject = {
            "source": str(run.workspace / SOURCE / _ENTRY[source_format]),
            "precision": asked["precision"],
            "inputs": asked["inputs"],
        }
        made = await self._converter.convert(run.workspace, request, part_of(run.report, _PREPARED, _CONVERTED))
        folder = made.directory.relative_to(run.workspace).as_posix()
        return {"folder": folder, "description": asdict(made.description), "record": made.record}

    async def _reserve(self, run: Run) -> JsonObject:
        return {"revision": await self._publisher.reserve(run.job.model)}

    async def _publish(self, run: Run, reserved: JsonObject, made: JsonObject | None) -> JsonObject:
        number, label = reserved["revision"], str(run.job.parameters["source"])
        assert isinstance(number, int)
        wanted = NewRevision(run.job.model, run.workspace / SOURCE, label, is_own=True)
        if made is not None:
            wanted = NewRevision(
                run.job.model,
                run.workspace / str(made["folder"]),
                label,
                description_from_json(_object(made["description"])),
                _object(made["record"]),
                is_own=True,
            )
        revision = await self._models.publish(wanted, number, run.job.created_by)
        return _published(revision)

    async def _configure(self, run: Run) -> JsonObject:
        async def change() -> JsonObject:
            options = LoadOptions(**_object(run.job.parameters["config"]))
            reference = f"{run.job.model}:{run.job.parameters['base']}"
            return _published(await self._models.configure(reference, options, run.job.created_by))

        return await run.step("configure", change)


# What the converter is pointed at, in the folder that was received.
_ENTRY = {SourceFormat.SAFETENSORS: "", SourceFormat.TORCH: "model.pt", SourceFormat.ONNX: "1"}


def locate(root: Path | None, file_path: str, field: str = "file_path") -> Path:
    """The file or directory that a client means by the `field` of a request. It need not exist.

    Raises: NotPermitted for what lies outside the import root, by '..' or by a link; Unsupported without a root.
    """
    if root is None:
        raise Unsupported(
            "this server has no import root; upload the file, or set TRITONPLANE_IMPORT_ROOT",
            requires=["TRITONPLANE_IMPORT_ROOT"],
        )
    if not file_path.strip() or not file_path.isprintable():
        raise InvalidRequest(f"{field} is empty or holds characters that no file name should", field=field)
    path = PurePosixPath(file_path)
    found = (root / path).resolve()
    if path.is_absolute() or ".." in path.parts or not found.is_relative_to(root.resolve()):
        raise NotPermitted(f"{field} must stay below the import root: relative, without '..'", field=field)
    return found


def parse_inputs(texts: list[str]) -> tuple[TensorSpec, ...]:
    """Inputs as options name them: `NAME:FP32:-1,16`. Raises InvalidRequest."""
    return tuple(_parse_input(text) for text in texts)


def _parse_input(text: str) -> TensorSpec:
    name, _, rest = text.partition(":")
    datatype, _, sizes = rest.partition(":")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not datatype or not shape or any(size < 1 and size != -1 for size in shape):
        raise InvalidRequest(
            f"{text[:100]!r} describes no input: write NAME:DATATYPE:SIZES, as in x:FP32:-1,16, with -1 for any size",
            field="input",
        )
    return TensorSpec(name, datatype, shape)


def _only_file(folder: Path) -> Path:
    """Raises NotFound where somebody has cleared the workspace."""
    found = next((path for path in folder.glob("*") if path.is_file()), None)
    if found is None:
        raise NotFound("the upload is gone from the job's workspace; send it again")
    return found


def _object(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def _published(revision: Revision) -> JsonObject:
    return {
        "model": revision.model,
        "revision": revision.number,
        "size_bytes": revision.size_bytes,
        "sha256": revision.digest,
    }
