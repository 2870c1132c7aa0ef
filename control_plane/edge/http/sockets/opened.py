"""All WebSockets that are open: told when the server stops, and looked at now and then for a credential taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from control_plane.edge.http.sockets.entry import Entry

RECHECK_S = 5.0  # how long a deleted key may go on listening; each message of its own is checked at once


class OpenSockets:
    """One task for all of them, while there are any."""

    def __init__(self, stopping: asyncio.Event, recheck_s: float = RECHECK_S) -> None:
        self._stopping, self._recheck_s = stopping, recheck_s
        self._open: set[Entry] = set()
        self._watching: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def holding(self, entry: Entry) -> Iterator[None]:
        self._open.add(entry)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="sockets")
        try:
            yield
        finally:
            self._open.discard(entry)
            if not self._open:
                self._watching.cancel()
                self._watching = None

    async def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), self._recheck_s)
            except TimeoutError:
                for entry in tuple(self._open):
                    await entry.recheck()
        for entry in tuple(self._open):
            entry.farewell()
