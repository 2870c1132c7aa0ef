"""The end of a log file, without reading all of it."""

from __future__ import annotations

import os
from pathlib import Path

LINES_DEFAULT, LINES_MAX = 1000, 10_000
BYTES_MAX = 4 * 1024 * 1024  # lines have no limit of their own
_BLOCK_BYTES = 64 * 1024


def last_lines(path: Path, lines: int) -> bytes:
    """The last `lines` lines, at most BYTES_MAX of them; nothing where there is no file yet."""
    try:
        with path.open("rb") as log:
            return _tail(log.fileno(), lines)
    except FileNotFoundError:
        return b""


def _tail(descriptor: int, lines: int) -> bytes:
    at, tail = os.fstat(descriptor).st_size, b""
    # One more line end than lines: the one that ends the line before the first.
    while at > 0 and len(tail) < BYTES_MAX and tail.count(b"\n") <= lines:
        start = max(0, at - _BLOCK_BYTES)
        tail = os.pread(descriptor, at - start, start) + tail
        at = start
    end = b"\n" if tail.endswith(b"\n") else b""
    kept = tail.removesuffix(b"\n").rsplit(b"\n", lines)[-lines:]
    return (b"\n".join(kept) + end)[-BYTES_MAX:]
