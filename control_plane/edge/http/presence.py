"""Notices callers who leave. Listening costs a task, so only a request that outlives a whole tick gets one."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive

TICK_S = 0.05
Task = asyncio.Task[Any]


class Presence:
    """Cancels the task of a request whose caller has gone. Used by one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._young: dict[Task, Receive] = {}
        self._aging: dict[Task, Receive] = {}
        self._listeners: dict[Task, Task] = {}
        self._left: set[Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, task: Task, receive: Receive) -> None:
        """Call when the request's body has been read: nothing but the caller's leaving is to be received then."""
        self._young[task] = receive
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def leave(self, task: Task) -> None:
        """Call before the last of the answer is sent: an answered request looks like one whose caller has gone."""
        if self._young.pop(task, None) is None and self._aging.pop(task, None) is None:
            listener = self._listeners.pop(task, None)
            if listener is not None:
                listener.cancel()

    def caller_left(self, task: Task) -> bool:
        """Whether that is why the task was cancelled."""
        if task not in self._left:
            return False
        self._left.discard(task)
        task.uncancel()
        return True

    def _tick(self) -> None:
        for task, receive in self._aging.items():
            self._listeners[task] = self._loop.create_task(self._listen(task, receive))
        self._aging, self._young = self._young, {}
        busy = self._aging or self._listeners
        self._timer = self._loop.call_later(TICK_S, self._tick) if busy else None

    async def _listen(self, task: Task, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._listeners.pop(task, None)
        self._left.add(task)
        task.cancel()
