"""Blocking work on a disk: off the event loop, and a full disk told as such."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from control_plane.domain.errors import Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def full_disk_told(contents: str = "models") -> Iterator[None]:
    """Raises Unavailable in place of the OSError of a disk that is full of `contents`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(f"the disk that holds the {contents} is full", retry_after_seconds=60) from error
        raise


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work off the loop. Cancelled, it waits all the same: nobody may clean up under a thread."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task])
