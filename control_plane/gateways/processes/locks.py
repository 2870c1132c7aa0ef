"""Locks between processes, which the kernel returns when their holder dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

_INTERVAL_S = 0.2


@contextmanager
def locked(file: Path, kind: int) -> Iterator[bool]:
    """Whether the lock (fcntl.LOCK_EX or LOCK_SH) could be had."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@asynccontextmanager
async def alone(file: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """One at a time, of all processes. A blocking lock could not be left, so it is asked for again and again."""
    is_told = False
    while True:
        with locked(file, fcntl.LOCK_EX) as is_held:
            if is_held:
                yield
                return
        if not is_told:
            on_wait()
            is_told = True
        await asyncio.sleep(_INTERVAL_S)
