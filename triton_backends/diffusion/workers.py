"""A few threads that draw, and a bounded queue before them: what does not fit is refused, not kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from triton_backends.runtime.decoupled import QueueFull
from triton_backends.runtime.replies import Reply

# How often the counters are reported while there is work.
REPORT_S = 0.25


class Work(Protocol):
    """One request. `draw` takes it to its end and answers it; it never raises."""

    reply: Reply

    def draw(self, counters: Counters) -> None: ...


@dataclass
class Counters:
    """What was done since the start; `busy` and `waiting` are drawings now. Steps are counted once an image."""

    steps: int = 0
    cancelled: int = 0
    failed: int = 0
    busy: int = 0
    waiting: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, steps: int = 0, cancelled: int = 0, failed: int = 0) -> None:
        with self._lock:
            self.steps += steps
            self.cancelled += cancelled
            self.failed += failed


class Workers:
    """`submit` may be called from any thread. `report` is called by one of the workers at a time."""

    def __init__(self, threads: int, queue: int, report: Callable[[Counters], None]) -> None:
        self._limit, self._threads_count, self._report = threads + queue, threads, report
        self._changed = threading.Condition()
        self._reporting = threading.Lock()
        self._reported_s = 0.0
        self._waiting: deque[Work] = deque()
        self._open = 0
        self._is_closed = False
        self.counters = Counters()
        self._threads = [
            threading.Thread(target=self._run, name=f"drawing {place}", daemon=True) for place in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> None:
        """Raises: QueueFull."""
        with self._changed:
            if self._open >= self._limit:
                self._drop_cancelled()
            if self._open >= self._limit:
                waiting = self._limit - self._threads_count
                raise QueueFull(
                    f"{self._open} drawings are under way or waiting, and {self._limit} may "
                    f"({self._threads_count} at a time, {waiting} in the queue)"
                )
            self._open += 1
            self._waiting.append(work)
            self._changed.notify()

    def close(self) -> None:
        """Fail what waits and what is under way, and stop the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for work in self._waiting:
            work.reply.fail("the model is being unloaded", "UNAVAILABLE")

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def _drop_cancelled(self) -> None:
        """Whose caller has left while it waited gives its place to another."""
        left = [work for work in self._waiting if work.reply.cancelled]
        for work in left:
            self._waiting.remove(work)
            self._open -= 1
            self.counters.add(cancelled=1)
            work.reply.finish()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work.draw(self.counters)
            with self._changed:
                self._open -= 1
            self.report_soon(at_once=True)

    def _next(self) -> Work | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting)
            return None if self._is_closed else self._waiting.popleft()

    def report_soon(self, *, at_once: bool = False) -> None:
        """Report the counters, unless that was done a moment ago."""
        with self._reporting:
            now_s = time.monotonic()
            if not at_once and now_s - self._reported_s < REPORT_S:
                return
            self._reported_s = now_s
            with self._changed:
                self.counters.waiting = len(self._waiting)
                self.counters.busy = self._open - len(self._waiting)
            self._report(self.counters)
