"""Exported files, each export in a folder of its own below the import root."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from control_plane.domain.errors import Unsupported
from control_plane.domain.models import Artifact
from control_plane.gateways.repository.disk import full_disk_told, in_thread
from control_plane.gateways.repository.manifest import sha256_of

FOLDER, _CONTENTS = "exports", "exports"
# In an import root of somebody else's, nothing but what we put there is ours.
_EXPORT_ID = re.compile(r"exp_[0-9A-Z]{26}")
_CHUNK_BYTES = 2**20
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can tell
_UNIX, _PLAIN_FILE, _PLAIN_FOLDER = 3, 0o100644 << 16, 0o40755 << 16 | 0x10


class LocalExports:
    """`root` is the import root; it may be on another file system than what is put there."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    async def pack(self, folder: Path, file: Path) -> None:
        """Zip a folder; the same files always give the same bytes. Raises Unavailable (disk full)."""
        with full_disk_told(_CONTENTS):
            await in_thread(_pack, folder, file)

    async def put(self, export_id: str, folder: Path, name: str) -> Artifact:
        """Take a folder of files in, whole or not at all; putting it again is fine.

        Raises: Unavailable (disk full); Unsupported where nothing can be written.
        """
        with full_disk_told(_CONTENTS):
            return await in_thread(self._put, export_id, folder, name)

    def file(self, export_id: str, name: str) -> Path:
        return self._folder / export_id / name

    async def ids(self) -> Sequence[str]:
        return await in_thread(self._ids)

    async def delete(self, export_id: str) -> None:
        await in_thread(shutil.rmtree, self._folder / export_id, ignore_errors=True)

    def _put(self, export_id: str, folder: Path, name: str) -> Artifact:
        place = self._folder / export_id
        self._make_folder()
        if not place.exists():
            draft = self._folder / f".{export_id}"  # beside its place, so that a rename reveals it whole
            shutil.rmtree(draft, ignore_errors=True)
            try:
                _link_all(folder, draft)
                draft.rename(place)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        file = place / name
        return Artifact(f"{FOLDER}/{export_id}/{name}", file.stat().st_size, sha256_of(file))

    def _make_folder(self) -> None:
        """Raises Unsupported where an operator's import root is not ours to write."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            is_ours = os.access(self._folder, os.W_OK)
        except (PermissionError, FileExistsError, NotADirectoryError):
            is_ours = False
        if not is_ours:
            raise Unsupported(
                f"exports are written into the folder {FOLDER!r} of the import root (TRITONPLANE_IMPORT_ROOT), which "
                "this server may not write",
                requires=["writable_import_root"],
            )

    def _ids(self) -> list[str]:
        names = (entry.name for entry in self._folder.glob("exp_*"))
        return sorted(name for name in names if _EXPORT_ID.fullmatch(name))


def _link_all(folder: Path, target: Path) -> None:
    """Every file, without a copy where the file system allows."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        link = target / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, link)
        except OSError:
            shutil.copyfile(file, link)


def _pack(folder: Path, file: Path) -> None:
    """Weights hardly compress, so nothing is compressed."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(folder.rglob("*")):
            path = member.relative_to(folder).as_posix()
            if member.is_dir():
                archive.writestr(_entry(f"{path}/", _PLAIN_FOLDER), b"")
                continue
            entry = _entry(path, _PLAIN_FILE)
            entry.file_size = member.stat().st_size  # over 2 GiB the header is a longer one, and it is written first
            with member.open("rb") as content, archive.open(entry, "w") as copy:
                shutil.copyfileobj(content, copy, _CHUNK_BYTES)


def _entry(path: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _FIRST_TIME)
    entry.create_system, entry.external_attr = _UNIX, mode
    return entry
