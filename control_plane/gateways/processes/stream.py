"""A child process that is listened to while it runs; whoever leaves early leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio.subprocess import STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from control_plane.gateways.processes.spawn import guard_group, kill_group, spawn

_LINE_BYTES_MAX = 2**26  # an event that records a model of many files
_CHUNK_BYTES = 2**16
# What is still in the pipes when a child has ended is read at once; more time is for a pipe that somebody took along.
_REST_S = 2.0

OnBytes = Callable[[bytes], None]


async def run_streamed(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    on_line: OnBytes,
    on_errors: OnBytes | None = None,
    on_start: Callable[[int], None] | None = None,
    cwd: Path | None = None,
) -> int:
    """Run a program to its end and return its code, negative for a signal.

    `on_line` gets each line of its stdout, `on_errors` pieces of its stderr (None: stderr goes into stdout),
    `on_start` its process id. What it started and left running is killed when it ends, when the caller leaves, and
    when we die. Raises: Unsupported when the program is not there, and what the callbacks raise.
    """
    async with _pipe() as (lines, stdout), _pipe() as (errors, stderr):
        process = await spawn(argv, env=env, cwd=cwd, stdout=stdout, stderr=STDOUT if on_errors is None else stderr)
        stdout.close()
        stderr.close()
        readers = [asyncio.create_task(_lines(lines, on_line, process.pid))]
        if on_errors is not None:
            readers.append(asyncio.create_task(_pieces(errors, on_errors, process.pid)))
        return await _watched(process, readers, on_start)


async def _watched(
    process: Process, readers: Sequence[asyncio.Task[None]], on_start: Callable[[int], None] | None
) -> int:
    guard = None
    try:
        if on_start is not None:
            on_start(process.pid)
        guard = await guard_group(process.pid)
        returncode = await process.wait()
        kill_group(process.pid)
        done, _ = await asyncio.wait(readers, timeout=_REST_S)
        for reader in done:
            reader.result()
        return returncode
    finally:
        kill_group(process.pid)
        await asyncio.shield(process.wait())
        if guard is not None:
            guard.kill()
            await asyncio.shield(guard.wait())
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _lines(reader: asyncio.StreamReader, on_line: OnBytes, leader: int) -> None:
    try:
        while line := await reader.readline():
            on_line(line)
    except Exception:
        kill_group(leader)  # nobody listens any more: it would wait for ever
        raise


async def _pieces(reader: asyncio.StreamReader, on_piece: OnBytes, leader: int) -> None:
    try:
        while piece := await reader.read(_CHUNK_BYTES):
            on_piece(piece)
    except Exception:
        kill_group(leader)
        raise


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, IO[bytes]]]:
    """A reader and what to write to, which its taker may close.

    Not asyncio's own pipes of a process: with those the process counts as running until its last grandchild has closed
    them. Sockets, since of a pipe's file uvloop closes the descriptor twice: by the second time its number may be that
    of a file which another thread has opened, and the database's is such a file.
    """
    readable, writable = socket.socketpair()
    with os.fdopen(writable.detach(), "wb", 0) as taken:
        reader, writer = await asyncio.open_unix_connection(sock=readable, limit=_LINE_BYTES_MAX)
        try:
            yield reader, taken
        finally:
            writer.close()
