"""What can be imported: a Triton model directory, a zip file of one, or a bare ONNX file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from control_plane.domain.errors import InvalidRequest, UnsupportedFormat
from control_plane.gateways.repository.archives import take_zip
from control_plane.gateways.repository.layout import CONFIG, MODEL_FILE, VERSION
from control_plane.gateways.repository.safety import check_entry, check_path
from control_plane.gateways.repository.staging import Intake, one_version


def take_source(source: Path, label: str, intake: Intake) -> None:
    """Stage a model directory (its one version becomes `1/`), a zip file of one, or an .onnx file.

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


def _take_file(source: Path, label: str, intake: Intake) -> None:
    match source.suffix.lower():
        case ".onnx":
            intake.take(source, MODEL_FILE)
        case ".zip":
            take_zip(source, label, intake)
        case _:
            raise UnsupportedFormat(
                f"{label!r} cannot be imported: "
                f"give a Triton model directory ({CONFIG} and {VERSION}/), a .zip of one, or an .onnx file",
                known=["triton", "zip", "onnx"],
            )


def _take_directory(source: Path, intake: Intake) -> None:
    version = one_version({entry.name for entry in os.scandir(source) if entry.is_dir(follow_symlinks=False)})
    for path in _walk(source):
        first, _, rest = path.partition("/")
        intake.take(source / path, f"{VERSION}/{rest}" if first == version and rest else path)


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
