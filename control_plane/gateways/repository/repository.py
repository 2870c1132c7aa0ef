"""The model repository on a local disk: publish, derive, list, verify, delete; all or nothing, whatever dies when."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import NotFound, UnsupportedFormat
from control_plane.domain.imports import SourceFormat
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Artifact, Description, LoadOptions, Revision, Signature
from control_plane.domain.references import check_new_name, revision_directory
from control_plane.gateways.repository import changes as configured
from control_plane.gateways.repository import pipelines
from control_plane.gateways.repository.configuration import Abilities
from control_plane.gateways.repository.disk import full_disk_told, in_thread
from control_plane.gateways.repository.drafts import Draft, Target, open_draft, settle_draft
from control_plane.gateways.repository.inventory import find_faults, read_revisions, sweep_staging
from control_plane.gateways.repository.layout import CONFIG, MANIFEST, VERSION, Layout, sync_folder
from control_plane.gateways.repository.manifest import artifact_of, digest_of, list_artifacts
from control_plane.gateways.repository.pbtxt import ModelConfig, config_signature, parse_config, render_config
from control_plane.gateways.repository.safety import ImportLimits
from control_plane.gateways.repository.sealing import link_files, reveal, seal
from control_plane.gateways.repository.sources import take_source
from control_plane.gateways.repository.staging import Intake
from control_plane.ports import Clock, OnnxInspector, OnnxModel, Publication

_NO_ARTIFACTS = frozenset({MANIFEST})


@dataclass(frozen=True, slots=True)
class Origin:
    """Which revision it is to be, and who made it from what."""

    model: str
    number: int
    source: str
    created_by: str
    conversion: JsonObject | None = None


class LocalRepository:
    """One instance per state directory; file work runs in threads, strangers' files open in a child process."""

    def __init__(
        self,
        state: Path,
        inspector: OnnxInspector,
        clock: Clock,
        abilities: Abilities,
        limits: ImportLimits | None = None,
    ) -> None:
        self._layout, self._inspector, self._clock = Layout(state), inspector, clock
        self._abilities = abilities
        self._limits = limits or ImportLimits()
        self._active: set[str] = set()
        self._layout.create()

    async def receive(self, source: Path, label: str, folder: Path) -> SourceFormat:
        """Bring a source into an empty folder, each file checked.

        Raises: InvalidRequest, UnsupportedFormat, PayloadTooLarge naming what is wrong; Unavailable (disk full).
        """
        with full_disk_told():
            return await in_thread(take_source, source, label, Intake(folder, self._limits))

    async def publish(self, publication: Publication) -> Revision:
        """Stage, validate, hash, then rename into place.

        Raises: InvalidRequest, Unsupported, PayloadTooLarge naming what is wrong; Conflict; Unavailable (disk full).
        """
        check_new_name(publication.model)
        target = self._target(publication)
        async with self._stage() as stage:
            draft = await in_thread(self._take, publication, stage, target)
            parts = pipelines.settle_parts(draft.config, publication.find_part)  # asks a catalog: not in a thread
            onnx = await self._inspect(draft)
            return await in_thread(self._publish, publication, draft, target, onnx, parts)

    async def stage(
        self, source: Path, directory: str, description: Description, settings: LoadOptions, folder: Path
    ) -> Signature:
        """Lay `folder/directory` out for another Triton, linked to `source`; what is there already is replaced.

        Raises: InvalidRequest, Unsupported for settings that do not fit the model; Unavailable (disk full).
        """
        target = Target(directory, self._abilities, frozenset())
        async with self._stage() as stage:
            draft = await in_thread(self._adopt, source, stage, target)
            onnx = await self._inspect(draft)
            config, _ = await in_thread(self._settle, draft, target, onnx, description, settings)
            await in_thread(_replace, folder / directory, stage)
            return config_signature(config)

    async def derive(self, base: Revision, number: int, changes: LoadOptions, created_by: str) -> Revision:
        """A new revision of the same files (hard links) with another configuration.

        Raises: InvalidRequest, Unsupported for a change that the backend or the machine cannot follow; Conflict.
        """
        async with self._stage() as stage:
            return await in_thread(self._derive, base, number, changes, created_by, stage)

    async def revisions(self) -> Sequence[Revision]:
        """Every whole revision on disk; what is not whole is moved out of Triton's sight."""
        return await in_thread(self._read)

    async def verify(self, revision: Revision) -> tuple[str, ...]:
        """How a revision's files differ from what was published, in sentences; reads every byte."""
        return await in_thread(find_faults, self._layout.revision(revision.model, revision.number), revision)

    async def copy(self, revision: Revision, places: Mapping[str, str], folder: Path) -> None:
        """Copy files of a revision, each to its place in a folder.

        Raises: NotFound when the revision is gone; Unavailable (disk full).
        """
        with full_disk_told():
            await in_thread(self._copy, revision, places, folder)

    async def package(self, revision: Revision, folder: Path) -> None:
        """Copy the whole model directory, under the model's public name as another Triton may serve it."""
        with full_disk_told():
            await in_thread(self._package, revision, folder)

    async def delete(self, revision: Revision) -> None:
        """Out of Triton's sight first, then off the disk. Deleting twice is fine."""
        async with self._stage() as stage:
            await in_thread(self._delete, revision, stage)

    @asynccontextmanager
    async def _stage(self) -> AsyncIterator[Path]:
        """A folder for one piece of work on the repository's file system; gone afterwards, unless renamed."""
        name = uuid.uuid4().hex
        stage = self._layout.staging / name
        self._active.add(name)
        try:
            with full_disk_told():
                stage.mkdir()
                yield stage
        finally:
            await in_thread(shutil.rmtree, stage, ignore_errors=True)
            self._active.discard(name)

    def _target(self, publication: Publication) -> Target:
        directory = revision_directory(publication.model, publication.number)
        return Target(directory, self._abilities, self._layout.directories(), publication.is_builtin)

    def _take(self, publication: Publication, stage: Path, target: Target) -> Draft:
        if publication.is_own:
            return self._adopt(publication.source, stage, target)
        if take_source(publication.source, publication.source_label, Intake(stage, self._limits)).must_be_converted:
            raise UnsupportedFormat(f"{publication.source_label!r} must be converted before it can be published")
        return open_draft(stage, target)

    def _adopt(self, source: Path, stage: Path, target: Target) -> Draft:
        Intake(stage, self._limits).adopt(source)
        return open_draft(stage, target)

    async def _inspect(self, draft: Draft) -> OnnxModel | None:
        file = draft.onnx_file
        return await self._inspector.inspect(file) if file is not None else None

    def _publish(
        self,
        publication: Publication,
        draft: Draft,
        target: Target,
        onnx: OnnxModel | None,
        parts: tuple[Revision, ...],
    ) -> Revision:
        config, description = self._settle(draft, target, onnx, publication.description, publication.settings)
        description = pipelines.with_parts(description, parts)
        origin = Origin(
            publication.model,
            publication.number,
            publication.source_label,
            publication.created_by,
            publication.conversion,
        )
        return self._finish(draft.stage, origin, config, description, list_artifacts(draft.stage, _NO_ARTIFACTS))

    def _settle(
        self,
        draft: Draft,
        target: Target,
        onnx: OnnxModel | None,
        description: Description | None,
        settings: LoadOptions | None,
    ) -> tuple[ModelConfig, Description]:
        """With config.pbtxt in its place."""
        config, described = settle_draft(draft, target, onnx, description)
        if settings is not None:
            configured.apply_changes(config, settings, self._abilities)
        (draft.stage / CONFIG).unlink(missing_ok=True)  # it may be linked, and the other name keeps its bytes
        (draft.stage / CONFIG).write_bytes(render_config(config))
        return config, described

    def _derive(self, base: Revision, number: int, changes: LoadOptions, created_by: str, stage: Path) -> Revision:
        folder = self._layout.revision(base.model, base.number)
        if not folder.is_dir():
            raise NotFound(f"revision {base.model}:{base.number} is not in the repository")
        config = parse_config((folder / CONFIG).read_bytes())
        config.name = revision_directory(base.model, number)
        configured.apply_changes(config, changes, self._abilities)
        unchanged = [artifact for artifact in base.artifacts if artifact.path != CONFIG]
        (stage / VERSION).mkdir()  # an ensemble's has no files
        link_files(folder, stage, [artifact.path for artifact in unchanged])
        (stage / CONFIG).write_bytes(render_config(config))
        artifacts = (*unchanged, artifact_of(stage, CONFIG))
        origin = Origin(base.model, number, f"{base.model}:{base.number}", created_by, base.conversion)
        return self._finish(stage, origin, config, base.description, artifacts)

    def _finish(
        self,
        stage: Path,
        origin: Origin,
        config: ModelConfig,
        description: Description,
        artifacts: tuple[Artifact, ...],
    ) -> Revision:
        revision = Revision(
            model=origin.model,
            number=origin.number,
            directory=config.name,
            backend=config.backend or config.platform,
            device=configured.device(config, self._abilities),
            signature=config_signature(config),
            description=description,
            artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.path)),
            digest=digest_of(artifacts),
            source=origin.source,
            created_at=self._clock.now(),
            created_by=origin.created_by,
            instance_count=configured.instance_count(config),
            queue_delay_us=configured.queue_delay_us(config),
            conversion=origin.conversion,
            parts=pipelines.part_directories(config),
        )
        seal(stage, revision)
        reveal(stage, self._layout, revision)
        return revision

    def _copy(self, revision: Revision, places: Mapping[str, str], folder: Path) -> None:
        source = self._layout.revision(revision.model, revision.number)
        for path, place in places.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source / path, target)
            except FileNotFoundError as error:
                raise NotFound(f"revision {revision.model}:{revision.number} is not in the repository") from error

    def _package(self, revision: Revision, folder: Path) -> None:
        paths = [MANIFEST, *(artifact.path for artifact in revision.artifacts)]
        self._copy(revision, {path: path for path in paths}, folder)
        (folder / VERSION).mkdir(exist_ok=True)  # an ensemble's has no files
        config = parse_config((folder / CONFIG).read_bytes())
        config.name = revision.model
        pipelines.name_publicly(config)
        (folder / CONFIG).write_bytes(render_config(config))

    def _read(self) -> tuple[Revision, ...]:
        sweep_staging(self._layout, frozenset(self._active))
        return read_revisions(self._layout)

    def _delete(self, revision: Revision, stage: Path) -> None:
        folder = self._layout.revision(revision.model, revision.number)
        if folder.exists():
            folder.rename(stage / folder.name)
            sync_folder(self._layout.repository)


def _replace(target: Path, stage: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    stage.rename(target)
