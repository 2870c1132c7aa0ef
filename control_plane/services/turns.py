"""One side's turn in a comparison: requests one after the other, then as many at a time as the workload says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from control_plane.domain.errors import EngineFailed
from control_plane.domain.tensors import Inference, Parameter, Tensor, element_count
from control_plane.ports import Triton

REQUEST_TIMEOUT_S = 60.0
Request = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of a model while it is measured.

    `requests`: one after the other, again from the first. `rows`: items of one request. `concurrency`: requests at a
    time when throughput is measured. `is_text`: a decoupled text model, whose items are its tokens.
    """

    requests: Sequence[Request]
    rows: int
    concurrency: int
    is_text: bool
    max_tokens: int = 16

    def __post_init__(self) -> None:
        if not self.requests or self.concurrency < 1:
            raise ValueError("a workload needs requests, and at least one at a time")


def rows_of(request: Request, asked: int) -> int:
    """How many items a request has that was to have `asked`: a graph whose first axis is fixed takes just so many."""
    counts = [tensor.shape[0] if tensor.shape else 1 for tensor in request]
    return asked if asked in counts or not counts else counts[0]


class Caller:
    """Asks models for what a workload wants of them."""

    def __init__(self, triton: Callable[[], Triton], workload: Workload, now_s: Callable[[], float]) -> None:
        self._triton, self._workload, self._now_s = triton, workload, now_s

    async def items(self, directory: str, request: Request) -> int:
        """Ask once; how many rows or tokens were the answer."""
        workload = self._workload
        if not workload.is_text:
            await self._triton().infer(Inference(directory, request, REQUEST_TIMEOUT_S))
            return workload.rows
        parameters: tuple[tuple[str, Parameter], ...] = (
            ("max_tokens", workload.max_tokens),
            ("temperature", 0.0),
            ("stream", False),
        )
        inference = Inference(directory, request, REQUEST_TIMEOUT_S, ("text_output",), parameters, takes_cancel=True)
        tokens = 0
        async with aclosing(self._triton().stream(inference)) as answers:
            async for answer in answers:
                text = answer.output("text_output")
                tokens += 0 if text is None else element_count(text.shape)
        return tokens

    async def latencies(self, directory: str, requests: Iterator[Request], counted: int) -> tuple[float, ...]:
        """Seconds of each of `counted` requests, one after the other; one before them does not count."""
        await self.items(directory, next(requests))
        return tuple([await self._latency(directory, next(requests)) for _ in range(counted)])

    async def rate(self, directory: str, requests: Iterator[Request], window_s: float) -> float:
        """Items a second at full concurrency: each caller asks once, and again until the window is over.

        The time goes on until the last answer: what is under way at the end of a window may be a whole batch.
        """
        begun_s = self._now_s()

        async def caller() -> int:
            items = await self.items(directory, next(requests))
            while self._now_s() - begun_s < window_s:
                items += await self.items(directory, next(requests))
            return items

        try:
            async with asyncio.TaskGroup() as group:
                callers = [group.create_task(caller()) for _ in range(self._workload.concurrency)]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return sum(task.result() for task in callers) / (self._now_s() - begun_s)

    async def _latency(self, directory: str, request: Request) -> float:
        begun_s = self._now_s()
        items = await self.items(directory, request)
        took_s = self._now_s() - begun_s
        if self._workload.is_text and items != self._workload.max_tokens:
            raise EngineFailed(f"{directory!r} answered with {items} tokens where it gave {self._workload.max_tokens}")
        return took_s
