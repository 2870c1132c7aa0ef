"""The files of a model, with their sizes and digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from control_plane.domain.jobs import JsonObject


def artifacts_of(folder: Path) -> tuple[JsonObject, ...]:
    """`{path, size_bytes, sha256}` of every file in a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        {"path": path.relative_to(folder).as_posix(), "size_bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in files
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
