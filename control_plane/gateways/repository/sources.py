"""Copies what is to be published into a staging folder: a Triton model directory, or one ONNX file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from control_plane.domain.errors import InvalidRequest, PayloadTooLarge, UnsupportedFormat
from control_plane.gateways.repository.layout import CONFIG, MODEL_FILE, VERSION
from control_plane.gateways.repository.safety import ImportLimits, check_content, check_entry, check_path

_CHUNK_BYTES = 2**20
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@dataclass(slots=True)
class Intake:
    """Copies files into `stage` one by one, checking each and counting all of them."""

    stage: Path
    limits: ImportLimits
    allow_code: bool
    _files: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    def take(self, source: Path, path: str) -> None:
        """Copy one file to the relative `path`. Raises InvalidRequest, PayloadTooLarge."""
        with _open_plain(source, path) as origin:
            mode = os.fstat(origin.fileno()).st_mode
            check_entry(path, mode)
            self.write(iter(lambda: origin.read(_CHUNK_BYTES), b""), path, is_executable=bool(mode & _EXECUTABLE))

    def write(self, chunks: Iterator[bytes], path: str, *, is_executable: bool = False) -> None:
        target = self.stage / check_path(path)
        self._count_file()
        target.parent.mkdir(parents=True, exist_ok=True)
        size_bytes = 0
        with target.open("wb") as copy:
            for chunk in chunks:
                size_bytes += len(chunk)
                self._count_bytes(len(chunk), size_bytes, path)
                copy.write(chunk)
        if not self.allow_code:
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


def take_source(source: Path, label: str, intake: Intake) -> None:
    """Stage a model directory (its one version becomes `1/`) or an .onnx file.

    Raises: InvalidRequest, UnsupportedFormat, PayloadTooLarge.
    """
    try:
        mode = source.lstat().st_mode
    except OSError as error:
        raise InvalidRequest(f"there is nothing to import at {label!r}") from error
    check_entry(label, mode)
    if stat.S_ISREG(mode):
        _take_file(source, label, intake)
    else:
        _take_directory(source, intake)


def take_overrides(files: Mapping[str, bytes], intake: Intake) -> None:
    for path, content in files.items():
        intake.write(iter([content]), path)


def _take_file(source: Path, label: str, intake: Intake) -> None:
    if source.suffix.lower() != ".onnx":
        raise UnsupportedFormat(
            f"{label!r} cannot be imported: give a Triton model directory ({CONFIG} and {VERSION}/) or an .onnx file",
            known=["triton", "onnx"],
        )
    intake.take(source, MODEL_FILE)


def _take_directory(source: Path, intake: Intake) -> None:
    version = _version(source)
    for path in _walk(source):
        first, _, rest = path.partition("/")
        intake.take(source / path, f"{VERSION}/{rest}" if first == version and rest else path)


def _version(source: Path) -> str | None:
    """The one folder that Triton would serve. Raises InvalidRequest for several: a revision is one version."""
    folders = (entry.name for entry in os.scandir(source) if entry.is_dir(follow_symlinks=False))
    versions = sorted(name for name in folders if name.isascii() and name.isdigit())
    if len(versions) > 1:
        raise InvalidRequest(
            f"the model directory has {len(versions)} versions ({', '.join(versions[:5])}); "
            "a revision is one: keep one version folder and import each of the others as its own revision",
            versions=versions[:100],
        )
    return versions[0] if versions else None


def _walk(source: Path) -> Iterator[str]:
    """Relative paths of all files, no link followed. Raises InvalidRequest for what is no file or folder."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(os.scandir(source / folder), key=lambda entry: entry.name):
            path = f"{folder}{entry.name}"
            check_path(path)
            mode = entry.stat(follow_symlinks=False).st_mode
            check_entry(path, mode)
            if stat.S_ISDIR(mode):
                waiting.append(f"{path}/")
            else:
                yield path


def _open_plain(source: Path, path: str) -> BinaryIO:
    """Open a file that may have become something else since it was listed. Raises InvalidRequest."""
    try:
        # O_NONBLOCK: opening a FIFO waits for a writer otherwise.
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidRequest(f"{path!r} cannot be read: {error.strerror}", path=path) from error
    return os.fdopen(handle, "rb")
