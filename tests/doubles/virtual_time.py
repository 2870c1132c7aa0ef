"""An event loop whose time passes only while it waits: what sleeps a minute takes no time, and exactly a minute."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._selector_of_time = _Selector()
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        return self._selector_of_time.now_s


class _Selector(selectors.DefaultSelector):
    """Lets the time pass that it was to wait; without a timer it waits for what happens outside, as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)
        events = super().select(0)
        if not events:
            self.now_s += max(0.0, timeout)
        return events
