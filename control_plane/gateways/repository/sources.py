"""What can be imported, brought in from a directory, a zip file or a single file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from control_plane.domain.errors import InvalidRequest, UnsupportedFormat
from control_plane.domain.imports import SourceFormat
from control_plane.gateways.repository.archives import take_zip
from control_plane.gateways.repository.layout import MODEL_FILE, TORCH_FILE
from control_plane.gateways.repository.recognition import KNOWN, sort_out
from control_plane.gateways.repository.safety import check_entry, check_inside
from control_plane.gateways.repository.staging import Intake

_TORCH_SUFFIXES = (".pt", ".pt2", ".ts")


def take_source(source: Path, label: str, intake: Intake) -> SourceFormat:
    """Stage a model; what it is, is told from its files.

    Raises: InvalidRequest, UnsupportedFormat, PayloadTooLarge.
    """
    try:
        mode = source.lstat().st_mode
    except OSError as error:
        raise InvalidRequest(f"there is nothing to import at {label!r}") from error
    check_entry(label, mode)
    if stat.S_ISDIR(mode):
        return _take_directory(source, label, intake)
    return _take_file(source, label, intake)


def _take_file(source: Path, label: str, intake: Intake) -> SourceFormat:
    suffix = source.suffix.lower()
    if suffix == ".zip":
        return take_zip(source, label, intake)
    if suffix == ".onnx":
        intake.take(source, MODEL_FILE)
        return SourceFormat.ONNX
    if suffix in _TORCH_SUFFIXES:
        intake.take(source, TORCH_FILE)
        return SourceFormat.TORCH
    if suffix == ".safetensors" and (source.parent / "config.json").is_file():
        return _take_directory(source.parent, label, intake)
    raise UnsupportedFormat(
        f"{label!r} cannot be imported: give {KNOWN}", known=[*(kind.value for kind in SourceFormat), "zip"]
    )


def _take_directory(source: Path, label: str, intake: Intake) -> SourceFormat:
    contents = sort_out(list(_walk(source)), label)
    for name, place in contents.places.items():
        intake.take(source / name, place)
    return contents.format


def _walk(source: Path) -> Iterator[str]:
    """Relative paths of all files, no link followed. Raises InvalidRequest for what is no file or folder."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(os.scandir(source / folder), key=lambda entry: entry.name):
            path = f"{folder}{entry.name}"
            check_inside(path)
            mode = entry.stat(follow_symlinks=False).st_mode
            check_entry(path, mode)
            if stat.S_ISDIR(mode):
                waiting.append(f"{path}/")
            else:
                yield path
