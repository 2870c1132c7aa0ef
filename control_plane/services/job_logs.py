"""The log of a job whose work is done in many folders: what each of them said, as one file."""

from __future__ import annotations

from pathlib import Path

LOG = "log.txt"  # of a job, and of each folder that a child works in
_NAMES = {LOG, "triton.log"}
_TAIL_BYTES = 2**18  # of each: the end says why it failed


def gather_logs(workspace: Path) -> None:
    """Into the workspace's own log, which is written anew, in the order in which they were finished."""
    found = [path for path in workspace.rglob("*") if path.name in _NAMES and path.parent != workspace]
    parts = [_part(path, workspace) for path in sorted(found, key=_written_at)]
    draft = workspace / f"{LOG}.draft"
    draft.write_bytes(b"".join(parts))
    draft.replace(workspace / LOG)


def _part(path: Path, workspace: Path) -> bytes:
    with path.open("rb") as log:
        size = log.seek(0, 2)
        log.seek(max(0, size - _TAIL_BYTES))
        end = log.read()
    return f"== {path.relative_to(workspace).as_posix()}\n".encode() + end.rstrip(b"\n") + b"\n"


def _written_at(path: Path) -> float:
    return path.stat().st_mtime
