"""An event loop whose time passes only while it waits: what sleeps a minute takes no time, and exactly a minute."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


def in_virtual_time(test: Callable[Given, Coroutine[Any, Any, Result]]) -> Callable[Given, Result]:
    """A test whose waits end when all else has come to rest, however busy the machine is; for what uses no sockets."""

    @functools.wraps(test)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(test(*args, **kwargs))

    return run


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._selector_of_time = _Selector()
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        return self._selector_of_time.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """No time passes meanwhile: a thread, that takes real time, would lose against each timer."""
        work = super().run_in_executor(executor, func, *args)
        self._selector_of_time.threads += 1
        work.add_done_callback(self._selector_of_time.thread_is_over)
        return work


class _Selector(selectors.DefaultSelector):
    """Lets the time pass that it was to wait; without a timer, or for a thread, it waits as ever."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s, self.threads = 0.0, 0

    def thread_is_over(self, _: object) -> None:
        self.threads -= 1

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)
        events = super().select(0)
        if not events and timeout > 0 and self.threads:
            return super().select(None)
        if not events:
            self.now_s += max(0.0, timeout)
        return events
