"""Keeps one engine busy with many requests: admits up to a limit, steps, delivers, notices who left."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from triton_backends.runtime.decoupled import QueueFull
from triton_backends.text_generation.engines.interface import Engine, Failed, Produced, Sequence
from triton_backends.text_generation.generation import Candidate, Generation

# How often the counters are reported while there is work.
REPORT_S = 0.25


@dataclass
class Counters:
    """What the loop has done since it started; `busy` and `waiting` are texts now."""

    tokens: int = 0
    steps: int = 0
    cancelled: int = 0
    failed: int = 0
    busy: int = 0
    waiting: int = 0


@dataclass
class Scheduler:
    """One thread that owns the engine. `submit` may be called from any other.

    `queue` texts may wait beyond the engine's slots; a candidate counts as one text.
    """

    engine: Engine
    queue: int
    report: Callable[[Counters], None] = lambda counters: None
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Candidate] = deque()
        self._running: dict[Sequence, Candidate] = {}
        self._open_texts = 0
        self._closed = False
        self._reported_s = 0.0
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, generation: Generation) -> None:
        """Raises: QueueFull."""
        with self._changed:
            limit = self.engine.slots + self.queue
            if self._open_texts + len(generation.candidates) > limit:
                raise QueueFull(
                    f"{self._open_texts} texts are under way or waiting, and {limit} may "
                    f"({self.engine.slots} slots, {self.queue} in the queue)"
                )
            self._open_texts += len(generation.candidates)
            self._waiting.extend(generation.candidates)
            self._changed.notify()

    def close(self) -> None:
        """End every generation with an error and stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._has_work():
            self.run_once()
        self._fail_all("the model is being unloaded", "UNAVAILABLE")

    def _has_work(self) -> bool:
        """Wait for work; false once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._running)
            return not self._closed

    def run_once(self) -> None:
        """One step of all that runs. A failure here fails what was running and leaves the loop alive."""
        try:
            self._drop_cancelled()
            self._admit()
            for outcome in self.engine.step():
                self._deliver(outcome)
        except Exception as error:
            self._fail_all(f"text generation failed: {error}", "INTERNAL")
        self.counters.steps += 1
        self.counters.busy, self.counters.waiting = len(self._running), len(self._waiting)
        self._report(idle=not self._running and not self._waiting)

    def _report(self, *, idle: bool) -> None:
        now_s = time.monotonic()
        if idle or now_s - self._reported_s >= REPORT_S:
            self._reported_s = now_s
            self.report(self.counters)

    def _drop_cancelled(self) -> None:
        with self._changed:
            open_candidates = [*self._running.values(), *self._waiting]
        left = {id(one.generation): one.generation for one in open_candidates if one.generation.reply.cancelled}
        for generation in left.values():
            self.counters.cancelled += 1
            self._release(generation.candidates)
            generation.reply.finish()

    def _admit(self) -> None:
        while len(self._running) < self.engine.slots:
            with self._changed:
                if not self._waiting:
                    return
                candidate = self._waiting.popleft()
                self._running[candidate.sequence] = candidate
            self.engine.submit(candidate.sequence)

    def _deliver(self, outcome: Produced | Failed) -> None:
        candidate = self._running.get(outcome.sequence)
        if candidate is None:
            # A sibling failed earlier in this step, and its request with it.
            return
        if isinstance(outcome, Failed):
            self._fail(candidate.generation, outcome.reason, "INTERNAL")
            return
        token = candidate.advance(outcome.sampled, self.engine.context_length)
        self.counters.tokens += 1
        if token.finish_reason:
            self._release([candidate])
        candidate.generation.deliver(candidate, token)

    def _fail(self, generation: Generation, reason: str, code: str) -> None:
        self.counters.failed += 1
        self._release(generation.candidates)
        generation.reply.fail(reason, code)

    def _fail_all(self, reason: str, code: str) -> None:
        with self._changed:
            open_candidates = [*self._running.values(), *self._waiting]
        for generation in {id(one.generation): one.generation for one in open_candidates}.values():
            self._fail(generation, reason, code)

    def _release(self, candidates: list[Candidate]) -> None:
        """Give back the slots and places of those that still have one."""
        for candidate in candidates:
            running = self._running.pop(candidate.sequence, None)
            if running is not None:
                self.engine.cancel(candidate.sequence)
            with self._changed:
                if running is None and candidate not in self._waiting:
                    continue
                if running is None:
                    self._waiting.remove(candidate)
                self._open_texts -= 1
