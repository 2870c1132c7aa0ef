"""The last steps of a publication: hash, describe, make durable and read-only, rename into Triton's sight."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from control_plane.domain.errors import Conflict
from control_plane.domain.models import Revision
from control_plane.gateways.repository.layout import MANIFEST, Layout, sync_folder
from control_plane.gateways.repository.manifest import render_manifest

# What decides whether the same files behave the same elsewhere.
_TOOLS = ("tritonplane", "nvidia-pytriton", "onnxruntime", "tokenizers", "numpy")
_READ_ONLY = 0o444


def seal(stage: Path, revision: Revision) -> None:
    """Write the manifest; then every byte is on the disk, and nobody changes a file by accident."""
    (stage / MANIFEST).write_bytes(render_manifest(revision, toolchain()))
    folders = [stage, *(path for path in stage.rglob("*") if path.is_dir())]
    for folder in folders:
        for file in folder.iterdir():
            if file.is_file():
                _sync_file(file)
                file.chmod(_READ_ONLY)
    # Entries are durable only when the folder that lists them is; the deepest first.
    for folder in reversed(folders):
        sync_folder(folder)


def reveal(stage: Path, layout: Layout, revision: Revision) -> None:
    """Rename the whole folder into the repository at once. Raises Conflict where the revision is there already."""
    target = layout.revision(revision.model, revision.number)
    if target.exists():
        raise Conflict(f"revision {revision.model}:{revision.number} is published already; numbers are never reused")
    stage.rename(target)
    sync_folder(layout.repository)
    sync_folder(layout.staging)


def toolchain() -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, **{name: version(name) for name in _TOOLS}}


def link_files(origin: Path, stage: Path, paths: Iterable[str]) -> None:
    """The same files under another folder, without a copy."""
    for path in paths:
        (stage / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(origin / path, stage / path)


def _sync_file(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
