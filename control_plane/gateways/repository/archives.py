"""Takes a model directory out of a zip file without letting the archive say where its files go."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from control_plane.domain.errors import InvalidRequest, PayloadTooLarge
from control_plane.domain.imports import SourceFormat
from control_plane.gateways.repository.recognition import sort_out
from control_plane.gateways.repository.safety import EXECUTABLE, check_entry, check_inside
from control_plane.gateways.repository.staging import CHUNK_BYTES, Intake

_MIB = 2**20
# Weights hardly compress; what grows more than this is made to fill a disk.
_GROWTH_MAX = 100
_ALWAYS_FINE_BYTES = 64 * _MIB
_ENCRYPTED = 0x1
_UNIX = 3  # ZipInfo.create_system of archives whose attributes hold a file mode


def take_zip(source: Path, label: str, intake: Intake) -> SourceFormat:
    """Stage the model directory in a zip file, at its top or in its only folder.

    Raises: InvalidRequest, PayloadTooLarge.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            entries = _named(_checked(archive, intake, source.stat().st_size))
            contents = sort_out(entries, label)
            for name, place in contents.places.items():
                with archive.open(entries[name]) as content:
                    chunks = iter(lambda content=content: content.read(CHUNK_BYTES), b"")  # type: ignore[misc]
                    intake.write(chunks, place, is_executable=bool(_mode(entries[name]) & EXECUTABLE))
            return contents.format
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise InvalidRequest(f"{label!r} is no zip file that can be read: {error}") from error


def _checked(archive: zipfile.ZipFile, intake: Intake, packed_bytes: int) -> list[zipfile.ZipInfo]:
    for entry in archive.infolist():
        check_inside(entry.filename)
        check_entry(entry.filename, _mode(entry) or stat.S_IFREG)
        if entry.flag_bits & _ENCRYPTED:
            raise InvalidRequest(f"{entry.filename!r} is encrypted", path=entry.filename)
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > intake.limits.files:
        raise PayloadTooLarge(f"the archive has more than {intake.limits.files} files")
    unpacked_bytes = sum(entry.file_size for entry in entries)
    if unpacked_bytes > max(_ALWAYS_FINE_BYTES, _GROWTH_MAX * packed_bytes):
        raise PayloadTooLarge(f"the archive would grow to {unpacked_bytes} bytes, over {_GROWTH_MAX} times its size")
    return entries


def _mode(entry: zipfile.ZipInfo) -> int:
    mode = entry.external_attr >> 16 if entry.create_system == _UNIX else 0
    return mode if stat.S_IFMT(mode) else mode | stat.S_IFREG


def _named(entries: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Each file by its path in the model; an only top folder is left away."""
    names = [entry.filename for entry in entries]
    tops = {name.partition("/")[0] for name in names}
    if len(tops) == 1 and all("/" in name for name in names) and not min(tops).isdigit():
        names = [name.partition("/")[2] for name in names]
    if len(set(names)) < len(names):
        raise InvalidRequest("the archive has two files of one name")
    return dict(zip(names, entries, strict=True))
