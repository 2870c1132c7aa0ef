"""The model repository without a disk, and the revisions that tests put into it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from control_plane.domain.errors import InvalidRequest, NotFound, Unsupported, UnsupportedFormat
from control_plane.domain.imports import SourceFormat
from control_plane.domain.models import (
    Artifact,
    Description,
    LoadOptions,
    ModelKind,
    Revision,
    Signature,
    TensorSpec,
)
from control_plane.domain.references import revision_directory
from control_plane.ports import Publication

CREATED_AT = datetime(2026, 11, 21, 11, 0, tzinfo=UTC)
TEXT = Signature(
    (TensorSpec("text_input", "BYTES", (1,)),),
    (
        TensorSpec("text_output", "BYTES", (-1,)),
        TensorSpec("token_id", "INT32", (-1,)),
        TensorSpec("probability", "FP32", (-1,)),
        TensorSpec("finish_reason", "BYTES", (1,)),
        TensorSpec("index", "INT32", (-1,)),
    ),
    is_decoupled=True,
)
_IMAGES = (
    TensorSpec("step", "INT32", (1,)),
    TensorSpec("num_steps", "INT32", (1,)),
    TensorSpec("images", "BYTES", (-1,)),
    TensorSpec("size", "INT32", (2,)),
    TensorSpec("stages", "BYTES", (1,)),
)
_SEED, _PROMPT = TensorSpec("seed", "INT64", (1,)), TensorSpec("text_input", "BYTES", (1,))
DIFFUSION = Signature((_SEED,), _IMAGES, is_decoupled=True)
HYBRID = Signature((_SEED, _PROMPT), _IMAGES, is_decoupled=True)
VECTOR = Signature((TensorSpec("input", "FP32", (-1, 4)),), (TensorSpec("output", "FP32", (-1, 4)),), max_batch_size=8)

_RECEIVED = {
    ".onnx": (SourceFormat.ONNX, "1/model.onnx"),
    ".zip": (SourceFormat.TRITON, "model.zip"),
    ".pt": (SourceFormat.TORCH, "model.pt"),
}


def _receive(source: Path, label: str, folder: Path) -> SourceFormat:
    if not source.exists():
        raise InvalidRequest(f"there is nothing to import at {label!r}")
    if source.is_dir():
        return SourceFormat.SAFETENSORS if (source / "config.json").exists() else SourceFormat.TRITON
    if source.suffix not in _RECEIVED:
        raise UnsupportedFormat(f"{label!r} cannot be imported")
    kind, place = _RECEIVED[source.suffix]
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_bytes(source.read_bytes())
    return kind


def text_revision(model: str, number: int = 1, **changes: object) -> Revision:
    """A language model of 1000 weights in int8, 3000 bytes on disk."""
    described = Description(ModelKind.TRANSFORMER, ("text-generation",), 1000, "int8", context_length=1024)
    return replace(_revision(model, number, "text_generation", TEXT, described), **changes)  # type: ignore[arg-type]


def diffusion_revision(model: str, number: int = 1, **changes: object) -> Revision:
    """A model that draws images of its labels "0" to "9", or of none."""
    described = Description(
        ModelKind.DIFFUSION, ("unconditional-image-generation",), 1000, "float32", classes=tuple("0123456789")
    )
    return replace(_revision(model, number, "diffusion", DIFFUSION, described), **changes)  # type: ignore[arg-type]


def hybrid_revision(model: str, number: int = 1, **changes: object) -> Revision:
    """A model that draws what a text says."""
    described = Description(ModelKind.HYBRID, ("text-to-image",), 1000, "float32")
    return replace(_revision(model, number, "diffusion", HYBRID, described), **changes)  # type: ignore[arg-type]


def tensor_revision(model: str, number: int = 1, **changes: object) -> Revision:
    """A model of 12 weights that takes and gives FP32 [batch, 4]."""
    described = Description(ModelKind.GENERIC, parameters=12, dtype="float32")
    return replace(_revision(model, number, "onnxruntime", VECTOR, described), **changes)  # type: ignore[arg-type]


class InMemoryRepository:
    """`packages`: what was said of each directory that was published, and its files. `publish_s`: how long it takes."""

    def __init__(self, *revisions: Revision) -> None:
        self._revisions = list(revisions)
        self.packages: list[tuple[Publication, dict[str, bytes]]] = []
        self.publish_s = 0.0

    async def receive(self, source: Path, label: str, folder: Path) -> SourceFormat:
        """Told from the ending alone; a file is copied."""
        return _receive(source, label, folder)

    async def publish(self, publication: Publication) -> Revision:
        await asyncio.sleep(self.publish_s)  # as any disk, it lets others go first
        files = {file.relative_to(publication.source).as_posix(): file for file in publication.source.rglob("*.*")}
        self.packages.append((publication, {path: file.read_bytes() for path, file in files.items()}))
        revision = tensor_revision(publication.model, publication.number, source=publication.source_label)
        self._revisions.append(revision)
        return revision

    async def stage(
        self, source: Path, directory: str, description: Description, settings: LoadOptions, folder: Path
    ) -> Signature:
        """A directory of that name, with nothing in it."""
        (folder / directory).mkdir(parents=True, exist_ok=True)
        return VECTOR

    async def derive(self, base: Revision, number: int, changes: LoadOptions, created_by: str) -> Revision:
        if changes.device == "cuda":
            raise Unsupported("this machine has no NVIDIA GPU", requires=["nvidia_gpu"])
        signature = base.signature
        if changes.max_batch_size is not None:
            signature = replace(signature, max_batch_size=changes.max_batch_size)
        revision = replace(
            base,
            number=number,
            directory=revision_directory(base.model, number),
            signature=signature,
            instance_count=changes.instance_count or base.instance_count,
            queue_delay_us=base.queue_delay_us if changes.queue_delay_us is None else changes.queue_delay_us,
            created_by=created_by,
        )
        self._revisions.append(revision)
        return revision

    async def revisions(self) -> Sequence[Revision]:
        return list(self._revisions)

    async def copy(self, revision: Revision, places: Mapping[str, str], folder: Path) -> None:
        """Each file holds its own path in the revision."""
        if revision not in self._revisions:
            raise NotFound(f"revision {revision.model}:{revision.number} is not in the repository")
        for path, place in places.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(path)

    async def package(self, revision: Revision, folder: Path) -> None:
        await self.copy(revision, {artifact.path: artifact.path for artifact in revision.artifacts}, folder)

    async def delete(self, revision: Revision) -> None:
        self._revisions.remove(revision)


def _revision(model: str, number: int, backend: str, signature: Signature, description: Description) -> Revision:
    return Revision(
        model=model,
        number=number,
        directory=revision_directory(model, number),
        backend=backend,
        device="cpu",
        signature=signature,
        description=description,
        artifacts=(Artifact("config.pbtxt", 1000, "a" * 64), Artifact("1/model.onnx", 2000, "b" * 64)),
        digest="c" * 64,
        source="a test",
        created_at=CREATED_AT,
        created_by="tests",
    )
