"""The shared-memory segments of our Triton's stubs: named after the state directory, so that leftovers are ours."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from pathlib import Path

SEGMENTS = Path("/dev/shm")  # noqa: S108  (the place is the kernel's, and the names are unique)


def family_prefix(state_dir: Path) -> str:
    """What the segments of every life of one state directory begin with."""
    return f"tp{_digest(state_dir)}_"


def scratch_prefix(state_dir: Path) -> str:
    """What those of all scratch servers of a state directory begin with: its own ones' names begin otherwise."""
    return f"tp{_digest(state_dir)}s"


def life_prefix(family: str) -> str:
    return f"{family}{secrets.token_hex(4)}_"


def segments(prefix: str) -> list[Path]:
    return sorted(SEGMENTS.glob(f"{prefix}*"))


def clean(prefix: str) -> None:
    """Call only when no process of that prefix lives."""
    for segment in segments(prefix):
        with contextlib.suppress(FileNotFoundError):
            segment.unlink()


def _digest(state_dir: Path) -> str:
    found = state_dir.stat()
    return hashlib.sha256(f"{state_dir.resolve()}:{found.st_dev}:{found.st_ino}".encode()).hexdigest()[:12]
