"""Files of JSON lines for operators: private to the server's user, and turned over when they are full."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
FILE_BYTES_MAX, FILES_KEPT = 16 * 2**20, 5
HELD_MAX = 100_000  # lines; a disk that stands still for long costs lines, not memory
FLUSH_S = 1.0


class LineFile:
    """Each line is in the file when `write` returns. At FILE_BYTES_MAX it becomes `<name>.1`, that `.2`, and so on.

    A line that cannot be written is told of in the log: what it tells of has happened all the same.
    """

    def __init__(self, path: Path, bytes_max: int = FILE_BYTES_MAX) -> None:
        self.path = path
        self._file = _PrivateFile(path, maxBytes=bytes_max, backupCount=FILES_KEPT, encoding="utf-8", delay=True)

    def write(self, line: Mapping[str, Any]) -> None:
        self.append([line])

    def append(self, lines: list[Mapping[str, Any]]) -> None:
        text = "\n".join(json.dumps(line, default=_plain, ensure_ascii=False) for line in lines)
        self._file.emit(logging.makeLogRecord({"msg": text}))

    def close(self) -> None:
        self._file.close()


class BufferedLineFile:
    """Lines reach the file within a second, written by a thread: a request that writes one does not wait."""

    def __init__(self, file: LineFile) -> None:
        self._file = file
        self._held: list[Mapping[str, Any]] = []
        self._lost = 0

    def write(self, line: Mapping[str, Any]) -> None:
        if len(self._held) < HELD_MAX:
            self._held.append(line)
        else:
            self._lost += 1

    @property
    def path(self) -> Path:
        return self._file.path

    async def flush(self) -> None:
        held, self._held = self._held, []
        lost, self._lost = self._lost, 0
        if held:
            await asyncio.to_thread(self._file.append, held)
        if lost:
            log.error("lines of the access log are lost", extra={"lines": lost})

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()


@asynccontextmanager
async def open_buffered_lines(path: Path) -> AsyncIterator[BufferedLineFile]:
    """What is held at the end of the block is written."""
    lines = BufferedLineFile(LineFile(path))
    watching = asyncio.create_task(lines.watch())
    try:
        yield lines
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await lines.flush()


class _PrivateFile(RotatingFileHandler):
    """The standard library's file that turns over, never readable by others.

    A line that a crash broke off is ended first, and a character that UTF-8 does not have becomes a question mark.
    """

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
            os.write(descriptor, b"\n")
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="replace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        log.error("lines are lost", extra={"file": self.baseFilename, "reason": str(sys.exc_info()[1])})


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)
