"""The model repository, and what leaves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control_plane.domain.imports import SourceFormat
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Artifact, Description, LoadOptions, Revision, Signature


@dataclass(frozen=True, slots=True)
class Publication:
    """A Triton model directory to become a revision. `description` None: what the source says of itself.

    `is_own`: its files are on the repository's file system, checked and ours, and are linked; else they are received.
    `conversion`: how they were made, for the manifest. `settings` change the configuration that it would have.
    `find_part`: the revision that a pipeline's reference means. `is_builtin`: it ships, and may call itself internal.
    """

    model: str
    number: int
    source: Path
    source_label: str
    created_by: str
    description: Description | None = None
    conversion: JsonObject | None = None
    is_own: bool = False
    settings: LoadOptions | None = None
    find_part: Callable[[str], Revision] | None = None
    is_builtin: bool = False


class ModelRepository(Protocol):
    """The live repository that Triton reads; nothing else writes it. Publishing is all or nothing."""

    async def receive(self, source: Path, label: str, folder: Path) -> SourceFormat:
        """Bring a source (directory, zip file or single file) into an empty folder, each file checked.

        A graph becomes `1/model.onnx`, a torch file `model.pt`; directories keep their layout.
        Raises: InvalidRequest, UnsupportedFormat, PayloadTooLarge naming what is wrong; Unavailable (disk full).
        """

    async def publish(self, publication: Publication) -> Revision:
        """Stage, validate, hash, then rename into place. Raises InvalidRequest naming what is wrong; leaves nothing."""

    async def stage(
        self, source: Path, directory: str, description: Description, settings: LoadOptions, folder: Path
    ) -> Signature:
        """Lay `folder/directory` out for another Triton, linked to `source` (as of a Publication that is our own).

        What is there already is replaced. Raises: InvalidRequest, Unsupported for settings that do not fit the model.
        """

    async def derive(self, base: Revision, number: int, changes: LoadOptions, created_by: str) -> Revision:
        """A new revision of the same files (hard links) with another configuration."""

    async def revisions(self) -> Sequence[Revision]:
        """Every whole revision on disk; what is not whole is moved out of Triton's sight."""

    async def copy(self, revision: Revision, places: Mapping[str, str], folder: Path) -> None:
        """Copy files of a revision, each to its place in a folder.

        Raises: NotFound when the revision is gone; Unavailable (disk full).
        """

    async def package(self, revision: Revision, folder: Path) -> None:
        """Copy the whole model directory, under the model's public name as another Triton may serve it.

        Raises: as `copy`.
        """

    async def delete(self, revision: Revision) -> None: ...


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """What an ONNX file says of itself. `parameters` counts the weights."""

    signature: Signature
    parameters: int
    dtype: str
    opset: int


class OnnxInspector(Protocol):
    """Opens untrusted ONNX files in a child process."""

    async def inspect(self, path: Path) -> OnnxModel:
        """Raises InvalidRequest when the file is not a valid ONNX model."""


class ExportShelf(Protocol):
    """Where exported files lie for who fetches them: below the import root, so that they can be imported again."""

    async def pack(self, folder: Path, file: Path) -> None:
        """Zip a folder; the same files always give the same bytes. Raises Unavailable (disk full)."""

    async def put(self, export_id: str, folder: Path, name: str) -> Artifact:
        """Take a folder of files in, whole or not at all; putting it again is fine.

        Gives the file `name` of it, with its path below the import root.
        Raises: Unavailable (disk full); Unsupported where nothing can be written.
        """

    def file(self, export_id: str, name: str) -> Path: ...

    async def ids(self) -> Sequence[str]: ...

    async def delete(self, export_id: str) -> None: ...
