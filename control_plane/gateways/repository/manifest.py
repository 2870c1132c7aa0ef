"""tritonplane.json: where a revision comes from and what it is made of, so that it can be known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from control_plane.domain.models import Artifact, Revision, Signature, TensorSpec
from control_plane.gateways.repository.descriptions import description_fields, parse_description

SCHEMA = 1
_CHUNK_BYTES = 2**20


class BrokenManifest(ValueError):
    """The manifest is missing, unreadable, or of a schema we do not know."""


def list_artifacts(folder: Path, except_for: frozenset[str]) -> tuple[Artifact, ...]:
    """Every file below a folder but those named, hashed, by path."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return tuple(artifact_of(folder, path) for path in sorted(paths) if path not in except_for)


def artifact_of(folder: Path, path: str) -> Artifact:
    return Artifact(path, (folder / path).stat().st_size, sha256_of(folder / path))


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(artifacts: Iterable[Artifact]) -> str:
    """One digest over all files: the SHA-256 of what `sha256sum` prints of them, sorted by path."""
    lines = sorted((artifact.path, artifact.sha256) for artifact in artifacts)
    return hashlib.sha256("".join(f"{sha256}  {path}\n" for path, sha256 in lines).encode()).hexdigest()


def render_manifest(revision: Revision, toolchain: dict[str, str]) -> bytes:
    fields = {
        "schema": SCHEMA,
        "model": revision.model,
        "number": revision.number,
        "directory": revision.directory,
        "backend": revision.backend,
        "device": revision.device,
        "instance_count": revision.instance_count,
        "queue_delay_us": revision.queue_delay_us,
        **description_fields(revision.description),
        "signature": asdict(revision.signature),
        "artifacts": [asdict(artifact) for artifact in revision.artifacts],
        "digest": revision.digest,
        "source": revision.source,
        "created_at": revision.created_at.isoformat(),
        "created_by": revision.created_by,
        "conversion": revision.conversion,
        "parts": list(revision.parts),
        "toolchain": toolchain,
    }
    return (json.dumps(fields, indent=2) + "\n").encode()


def parse_manifest(content: bytes) -> Revision:
    """Raises BrokenManifest."""
    try:
        fields = json.loads(content)
        if fields["schema"] != SCHEMA:
            raise BrokenManifest(f"the manifest has schema {fields['schema']}; this version reads {SCHEMA}")
        return _revision(fields)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BrokenManifest(f"the manifest cannot be read: {error}") from error


def _revision(fields: dict[str, Any]) -> Revision:
    return Revision(
        model=fields["model"],
        number=fields["number"],
        directory=fields["directory"],
        backend=fields["backend"],
        device=fields["device"],
        signature=_signature(fields["signature"]),
        description=parse_description(fields),
        artifacts=tuple(Artifact(**entry) for entry in fields["artifacts"]),
        digest=fields["digest"],
        source=fields["source"],
        created_at=datetime.fromisoformat(fields["created_at"]),
        created_by=fields["created_by"],
        instance_count=fields["instance_count"],
        queue_delay_us=fields["queue_delay_us"],
        conversion=fields.get("conversion"),
        parts=tuple(fields.get("parts", ())),
    )


def _signature(fields: dict[str, Any]) -> Signature:
    return Signature(
        inputs=tuple(_tensor(entry) for entry in fields["inputs"]),
        outputs=tuple(_tensor(entry) for entry in fields["outputs"]),
        max_batch_size=fields["max_batch_size"],
        is_decoupled=fields["is_decoupled"],
    )


def _tensor(entry: dict[str, Any]) -> TensorSpec:
    return TensorSpec(entry["name"], entry["datatype"], tuple(entry["shape"]))
