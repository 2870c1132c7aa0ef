"""When a process that executes a model dies: Triton tells nobody, but the kernel does."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable


class DeathWatch:
    """Calls `on_death` with the model directory, once, at the first death among its processes.

    Where the kernel or a sandbox refuses pidfds, nothing is told.
    """

    def __init__(self, on_death: Callable[[str], None] = lambda directory: None) -> None:
        self.on_death = on_death
        self._descriptors: dict[str, list[int]] = {}

    def begin(self, directory: str, pids: Iterable[int]) -> None:
        self.end(directory)
        loop, opened = asyncio.get_running_loop(), self._descriptors.setdefault(directory, [])
        try:
            for pid in pids:
                opened.append(os.pidfd_open(pid))
                loop.add_reader(opened[-1], self._died, directory)
        except OSError:
            self.end(directory)
        if not opened:
            self._descriptors.pop(directory, None)

    def end(self, directory: str) -> None:
        for descriptor in self._descriptors.pop(directory, ()):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def end_all(self) -> None:
        for directory in list(self._descriptors):
            self.end(directory)

    def _died(self, directory: str) -> None:
        self.end(directory)
        self.on_death(directory)
