"""A log file of a child: all that it says, until that is too much; then the end of it."""

from __future__ import annotations

import os
from pathlib import Path

LOG_BYTES_MAX = 16 * 2**20
_LEFT_OUT = b"[... earlier lines are left out ...]\n"


class BoundedLog:
    """Appends to a file of at most `bytes_max`; when that is passed, its second half is kept. Close it."""

    def __init__(self, file: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        self._file, self._bytes_max = file, bytes_max
        self._log = file.open("ab", buffering=0)

    def write(self, piece: bytes) -> None:
        """A log that cannot be written any more, as on a full disk, is no reason to stop."""
        try:
            self._log.write(piece)
            if self._log.tell() > self._bytes_max:
                self._shorten()
        except OSError:
            pass

    def close(self) -> None:
        self._log.close()

    def _shorten(self) -> None:
        with self._file.open("rb") as log:
            log.seek(-self._bytes_max // 2, os.SEEK_END)
            kept = log.read()
        draft = self._file.with_name(f"{self._file.name}.draft")
        draft.write_bytes(_LEFT_OUT + kept.partition(b"\n")[2])
        draft.replace(self._file)
        self._log.close()
        self._log = self._file.open("ab", buffering=0)
