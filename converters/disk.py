"""Whether the disk is full, which libraries tell in many ways or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converters.recipe import Refused

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What a file needs that is not even begun.
_FREE_BYTES_MIN = 2**20
_MESSAGE = "the disk with the server's state directory is full; make room, then convert again"


class DiskFull(Refused):
    """A conversion needs room for its model several times."""

    code = "PIPELINE_UNAVAILABLE"


@contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """Raises DiskFull in place of whatever a full disk made of itself on the way here; the partial files still lie."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if _says_full(error) or _is_full(folder):
            raise DiskFull(
                "the disk with the server's state directory is full; make room, then convert again"
            ) from error
        raise


def _says_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_full(folder: Path) -> bool:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize < _FREE_BYTES_MIN
