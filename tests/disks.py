"""A disk that is small enough to fill: a tmpfs, which only root may mount, and in many a container not even root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

# What `mount` says to who may not.
NOT_PERMITTED = ("permission denied", "must be superuser")


@dataclass(frozen=True)
class SmallDisk:
    path: Path

    @property
    def free_bytes(self) -> int:
        room = os.statvfs(self.path)
        return room.f_bavail * room.f_frsize

    def fill(self, *, leaving_bytes: int = 0) -> None:
        """Others may write meanwhile."""
        with (self.path / "ballast").open("ab") as ballast:
            while (taken_bytes := self.free_bytes - leaving_bytes) > 0:
                with suppress(OSError):
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, taken_bytes)

    def empty(self) -> None:
        """Give the room back that `fill` took."""
        (self.path / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, size_mib: int) -> Iterator[SmallDisk]:
    """Mounted at a new folder until the end of the block."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", path]
    environment = os.environ | {"LC_ALL": "C"}
    mounted = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if any(words in mounted.stderr for words in NOT_PERMITTED):
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    assert mounted.returncode == 0, mounted.stderr
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)
