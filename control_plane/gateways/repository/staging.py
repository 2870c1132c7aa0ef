"""The way into a staging folder: every file is checked, counted and copied by the same hands."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from control_plane.domain.errors import InvalidRequest, PayloadTooLarge
from control_plane.gateways.repository.layout import KEPT_TORCH_FILES, TORCH_FILE
from control_plane.gateways.repository.safety import (
    EXECUTABLE,
    ImportLimits,
    check_content,
    check_entry,
    check_path,
    is_torch_archive,
)

CHUNK_BYTES = 2**20


@dataclass(slots=True)
class Intake:
    """Copies files into `stage` one by one, checking each and counting all of them."""

    stage: Path
    limits: ImportLimits
    _files: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    def take(self, source: Path, path: str) -> None:
        """Copy one file to the relative `path`. Raises InvalidRequest, PayloadTooLarge."""
        with _open_plain(source, path) as origin:
            mode = os.fstat(origin.fileno()).st_mode
            check_entry(path, mode)
            self.write(iter(lambda: origin.read(CHUNK_BYTES), b""), path, is_executable=bool(mode & EXECUTABLE))

    def adopt(self, folder: Path) -> None:
        """Link all files of a folder of ours, which were checked when they came."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = self.stage / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(file)

    def write(self, chunks: Iterator[bytes], path: str, *, is_executable: bool = False) -> None:
        self._count_file()
        size_bytes = 0
        target = self.stage / check_path(path)
        with _create(target, path) as copy:
            for chunk in chunks:
                size_bytes += len(chunk)
                self._count_bytes(len(chunk), size_bytes, path)
                copy.write(chunk)
        is_torch = path == TORCH_FILE or (path in KEPT_TORCH_FILES and is_torch_archive(target))
        if not self.limits.allow_code and not is_torch:
            check_content(target, path, is_executable)

    def _count_file(self) -> None:
        self._files += 1
        if self._files > self.limits.files:
            raise PayloadTooLarge(f"the model has more than {self.limits.files} files", limit_files=self.limits.files)

    def _count_bytes(self, added: int, size_bytes: int, path: str) -> None:
        self._bytes += added
        if size_bytes > self.limits.file_bytes:
            raise PayloadTooLarge(f"{path!r} is over {self.limits.file_bytes} bytes", path=path)
        if self._bytes > self.limits.total_bytes:
            raise PayloadTooLarge(f"the model is over {self.limits.total_bytes} bytes")


def one_version(folders: Collection[str]) -> str | None:
    """The one folder that Triton would serve. Raises InvalidRequest for several: a revision is one version."""
    versions = sorted(name for name in folders if name.isascii() and name.isdigit())
    if len(versions) > 1:
        raise InvalidRequest(
            f"the model directory has {len(versions)} versions ({', '.join(versions[:5])}); "
            "a revision is one: keep one version folder and import each of the others as its own revision",
            versions=versions[:100],
        )
    return versions[0] if versions else None


def _create(target: Path, path: str) -> BinaryIO:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("wb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InvalidRequest(f"{path!r} is a file and a folder at once", path=path) from error


def _open_plain(source: Path, path: str) -> BinaryIO:
    """Open a file that may have become something else since it was listed. Raises InvalidRequest."""
    try:
        # O_NONBLOCK: opening a FIFO waits for a writer otherwise.
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidRequest(f"{path!r} cannot be read: {error.strerror}", path=path) from error
    return os.fdopen(handle, "rb")
