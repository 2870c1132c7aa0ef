"""What is on disk: whole revisions are read, everything else is moved where Triton does not look."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Collection
from pathlib import Path

from control_plane.domain.models import Revision
from control_plane.gateways.repository.layout import INTERNAL_PREFIX, MANIFEST, Layout, parse_directory
from control_plane.gateways.repository.manifest import BrokenManifest, digest_of, parse_manifest, sha256_of

log = logging.getLogger(__name__)


def sweep_staging(layout: Layout, active: Collection[str]) -> None:
    """Remove what a killed publication or deletion left behind; `active` are those under way."""
    for entry in layout.staging.iterdir():
        if entry.name not in active:
            shutil.rmtree(entry, ignore_errors=True)


def read_revisions(layout: Layout) -> tuple[Revision, ...]:
    """Every whole revision, by model and number; what is not whole goes to quarantine."""
    revisions = []
    for folder in layout.repository.iterdir():
        if folder.name.startswith(INTERNAL_PREFIX):
            continue
        try:
            revisions.append(read_revision(folder))
        except BrokenManifest as error:
            quarantine(layout, folder, str(error))
    return tuple(sorted(revisions, key=lambda revision: (revision.model, revision.number)))


def read_revision(folder: Path) -> Revision:
    """A revision from its manifest, if its files are there in their sizes. Raises BrokenManifest."""
    try:
        revision = parse_manifest((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise BrokenManifest(f"no manifest can be read: {error.strerror}") from error
    if folder.is_symlink() or parse_directory(folder.name) != (revision.model, revision.number):
        raise BrokenManifest(f"the manifest is of {revision.model}:{revision.number}")
    for artifact in revision.artifacts:
        file = folder / artifact.path
        if not file.is_file() or file.stat().st_size != artifact.size_bytes:
            raise BrokenManifest(f"the file {artifact.path} is missing or has another size")
    return revision


def quarantine(layout: Layout, folder: Path, reason: str) -> None:
    target = layout.quarantine / f"{folder.name}.{uuid.uuid4().hex[:8]}"
    folder.rename(target)
    log.warning("not a whole revision; moved away", extra={"directory": folder.name, "to": target, "reason": reason})


def find_faults(folder: Path, revision: Revision) -> tuple[str, ...]:
    """How the files differ from what was published, in sentences; reads all of them."""
    faults = []
    for artifact in revision.artifacts:
        file = folder / artifact.path
        if not file.is_file():
            faults.append(f"{artifact.path} is missing")
        elif sha256_of(file) != artifact.sha256:
            faults.append(f"{artifact.path} has changed")
    listed = {artifact.path for artifact in revision.artifacts} | {MANIFEST}
    # Python writes its cache beside code that it imports; it is no part of the revision.
    present = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    strangers = sorted(
        path.as_posix() for path in present if path.as_posix() not in listed and "__pycache__" not in path.parts
    )
    faults.extend(f"{path} was not published" for path in strangers)
    if digest_of(revision.artifacts) != revision.digest:
        faults.append("the manifest's digest is not that of its files")
    return tuple(faults)
