"""Which files of a stranger may become part of a revision, told from their names, modes and first bytes."""

from __future__ import annotations

import pickletools
import re
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from control_plane.domain.errors import InvalidRequest

_GIB = 2**30
_COMPONENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._ -]{0,119}")
_DEPTH_MAX = 8
# Triton would start this in place of its own stub; it breaks supervision even where code is allowed.
STUB = "triton_python_backend_stub"
_CODE_SUFFIXES = frozenset(
    [".py", ".pyc", ".pyo", ".pyd", ".sh", ".bash", ".exe", ".dll", ".dylib", ".jar", ".whl", ".egg"]
)
_SHARED_LIBRARY = re.compile(r".*\.so(\.[0-9.]+)?")
_PICKLE_SUFFIXES = frozenset([".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".ckpt", ".dill"])
# Protocol 2 to 5: its opcode, its number, and an opcode that can follow.
_PICKLE_BINARY = re.compile(rb"\x80[\x02-\x05][\x88-\x8c\x8e-\x90\x95\x96()}\]BCGJKMNTUXc]")
# Protocol 0 and 1: the name of something to import. A list of labels may begin so too, and is looked at further.
_PICKLE_TEXT = re.compile(rb"\(?[ci]\w[\w.]*\r?\n\w[\w.]*\r?\n")
_PICKLE_TEXT_BYTES = 2**20
# The second byte of every CPython magic number since 3.0, then the line end that all of them carry.
_BYTECODE = re.compile(rb".[\x0b-\x0e]\r\n", re.DOTALL)
_SNIFFED_BYTES = 512
EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """How much one import may bring, and whether code may be in it. Units: bytes."""

    files: int = 4096
    file_bytes: int = 64 * _GIB
    total_bytes: int = 128 * _GIB
    allow_code: bool = False


def check_path(path: str) -> PurePosixPath:
    """A relative path that is safe to write and to show. Raises InvalidRequest."""
    parts = path.split("/")
    if len(parts) > _DEPTH_MAX:
        raise InvalidRequest(f"{path[:200]!r} is more than {_DEPTH_MAX} folders deep", path=path[:200])
    for part in parts:
        if not _COMPONENT.fullmatch(part) or part.endswith((" ", ".")):
            raise InvalidRequest(
                f"{path[:200]!r} cannot be the name of a model's file: letters, digits, '_', '-', '.' and inner "
                "spaces only, not hidden, no '..'",
                path=path[:200],
            )
    return PurePosixPath(path)


def check_inside(path: str) -> None:
    """Refuse a name that could mean a place outside, whether its file is wanted or not. Raises InvalidRequest."""
    if path.startswith("/") or "\\" in path or ".." in path.split("/") or not path.isprintable():
        raise InvalidRequest(f"{path[:200]!r} leads out of the model's directory", path=path[:200])


def check_entry(path: str, mode: int) -> None:
    """Refuse what is neither a folder nor a plain file. Raises InvalidRequest."""
    if stat.S_ISLNK(mode):
        raise InvalidRequest(f"{path!r} is a symbolic link; a model's files must be files of its own", path=path)
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InvalidRequest(f"{path!r} is neither a file nor a folder", path=path)
    if PurePosixPath(path).name == STUB:
        raise InvalidRequest(f"{path!r} would replace the process that Triton runs models in", path=path)


def check_content(file: Path, path: str, is_executable: bool) -> None:
    """Refuse code and pickles, whatever they are called. Raises InvalidRequest."""
    reason = _code_reason(file, path) or ("is marked executable" if is_executable else None)
    if reason:
        raise InvalidRequest(
            f"{path!r} {reason}; this server takes models with code only when TRITONPLANE_IMPORT_ALLOW_CODE is true",
            path=path,
        )


def is_torch_archive(file: Path) -> bool:
    """Whether it is laid out as torch.jit.save and torch.export.save do, and not as torch.save does."""
    with file.open("rb") as content:
        if content.read(2) != b"PK" or not zipfile.is_zipfile(file):
            return False
    with zipfile.ZipFile(file) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    is_script = "constants.pkl" in names and any(name.startswith("code/") for name in names)
    return is_script or "archive_format" in names


def _code_reason(file: Path, path: str) -> str | None:
    name = PurePosixPath(path).name.lower()
    suffix = PurePosixPath(name).suffix
    if suffix in _CODE_SUFFIXES or _SHARED_LIBRARY.fullmatch(name):
        return "is code"
    if suffix in _PICKLE_SUFFIXES:
        return f"may be a pickle, as {suffix} files are, and a pickle runs code when it is opened"
    with file.open("rb") as content:
        head = content.read(_SNIFFED_BYTES)
    return _code_in(head) or _pickle_in(file, head)


def _code_in(head: bytes) -> str | None:
    if head.startswith(b"\x7fELF"):
        return "is a program or shared library"
    if head.startswith(b"#!"):
        return "is a script"
    return "is Python bytecode" if _BYTECODE.match(head) else None


def _pickle_in(file: Path, head: bytes) -> str | None:
    if _PICKLE_BINARY.match(head) or (_PICKLE_TEXT.match(head) and _decodes_as_pickle(file)):
        return "is a pickle, which runs code when it is opened"
    if head.startswith(b"PK") and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        if any(PurePosixPath(name).suffix.lower() in _CODE_SUFFIXES | _PICKLE_SUFFIXES for name in names):
            return "is an archive with code or a pickle in it"
    return None


def _decodes_as_pickle(file: Path) -> bool:
    """Whether the opcodes run to a STOP; reading them executes nothing."""
    with file.open("rb") as content:
        start = content.read(_PICKLE_TEXT_BYTES)
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(start))
    except (ValueError, IndexError, OverflowError, struct.error):
        return False
