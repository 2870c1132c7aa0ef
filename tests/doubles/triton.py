"""Triton without a Triton: what is loaded, text that repeats its prompt, tensors that are doubled, images."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from control_plane.domain.errors import DomainError, InvalidRequest, ModelNotFound
from control_plane.domain.models import Signature
from control_plane.domain.tensors import Inference, Prediction, Tensor, bytes_elements, pack, text_tensor
from control_plane.domain.triton import IndexEntry, Statistics, TritonState, TritonStatus
from tests.doubles.images import draws, steps_and_images

PROBABILITY = 0.5  # of every token that the text model gives; exact in 32 bits


class InMemoryTriton:
    """Satisfies `Triton` and `TritonControl`.

    A stream answers with the prompt's words, each with the blank before it, as many as `max_tokens` allows; where a
    `seed` is among the inputs, with steps and images (`tests/doubles/images.py`), and steps are what is counted below.
    `fail_at`: after how many tokens a stream fails, and how. `hold_at`: after how many it waits for `go_on`.
    `loads_go_on`: cleared, it holds every load and unload. `answers_fail`, `unloads_fail`: with what, if they do.
    `repeat`: how often a stream says its words. `forgets_to_finish`: whether its last token lacks the reason.
    `reached`: which token a stream makes now, or did last.
    """

    def __init__(self) -> None:
        self.loaded: set[str] = set()
        self.refusals: dict[str, DomainError] = {}  # what a load of a directory fails with
        self.signatures: dict[str, Signature | DomainError] = {}
        self.requests: list[Inference] = []  # probes are not kept
        self.fail_at: tuple[int, DomainError] | None = None
        self.hold_at: int | None = None
        self.holding, self.go_on = asyncio.Event(), asyncio.Event()
        self.closed_early, self.was_closed_early = 0, asyncio.Event()
        self.loads, self.unloads, self.loads_go_on = list[str](), list[str](), asyncio.Event()
        self.answers_fail: DomainError | None = None
        self.unloads_fail: DomainError | None = None
        self.loads_go_on.set()
        self.repeat, self.forgets_to_finish = 1, False
        self.reached = 0

    async def infer(self, inference: Inference) -> Prediction:
        self._check(inference)
        return Prediction(tuple(_doubled(tensor) for tensor in inference.inputs))

    async def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        self._check(inference)
        if draws(inference):
            answers = self._draw(inference)
            try:
                async for answer in answers:
                    yield answer
            finally:
                await answers.aclose()
            return
        words = _words(inference)
        if not dict(inference.parameters)["stream"]:
            await self._before(0)
            yield _prediction(words, 0, _reason(inference, words))
            return
        try:
            count = len(words) * self.repeat
            for index in range(count):
                await self._before(index)
                is_last = index == count - 1 and not self.forgets_to_finish
                yield _prediction([words[index % len(words)]], index, _reason(inference, words) if is_last else "")
            yield Prediction((), is_final=True)
        except (GeneratorExit, asyncio.CancelledError):
            self.closed_early += 1
            self.was_closed_early.set()
            raise

    async def _draw(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        try:
            for index, answer in enumerate(steps_and_images(inference)):
                await self._before(index)
                yield answer
        except (GeneratorExit, asyncio.CancelledError):
            self.closed_early += 1
            self.was_closed_early.set()
            raise

    def answered_at_s(self, directory: str) -> float:
        return float(sum(request.directory == directory for request in self.requests))

    async def load(self, directory: str, timeout_s: float) -> None:
        self.loads.append(directory)
        await self.loads_go_on.wait()
        if directory in self.refusals:
            raise self.refusals[directory]
        self.loaded.add(directory)

    async def unload(self, directory: str, timeout_s: float) -> None:
        self.unloads.append(directory)
        await self.loads_go_on.wait()
        if self.unloads_fail is not None:
            raise self.unloads_fail
        self.loaded.discard(directory)

    async def index(self) -> Sequence[IndexEntry]:
        return [IndexEntry(directory, "READY", "") for directory in sorted(self.loaded)]

    async def signature(self, directory: str) -> Signature:
        told = self.signatures.get(directory, ModelNotFound(f"{directory} has no signature here"))
        if isinstance(told, DomainError):
            raise told
        return told

    async def statistics(self, directory: str) -> Statistics:
        count = sum(request.directory == directory for request in self.requests)
        return Statistics(count, count, count, 0, self.closed_early, 0, 0)

    def memory_bytes(self, directory: str) -> int | None:
        return 1_000_000 if directory in self.loaded else None

    def _check(self, inference: Inference) -> None:
        if inference.directory not in self.loaded:
            raise ModelNotFound(f"Request for unknown model: '{inference.directory}' is not found")
        if self.answers_fail is not None:
            raise self.answers_fail
        if not _is_probe(inference):
            self.requests.append(inference)

    async def _before(self, index: int) -> None:
        self.reached = index
        self._fail(index)
        if index % 100 == 99:  # what comes over a socket lets others go first now and then
            await asyncio.sleep(0)
        if index == self.hold_at:
            self.holding.set()
            await self.go_on.wait()

    def _fail(self, index: int) -> None:
        if self.fail_at is not None and self.fail_at[0] == index:
            raise self.fail_at[1]


class InMemoryTritonServer:
    """Satisfies `TritonServer`; a test sets `state` and `repository`."""

    def __init__(self, since: datetime, repository: str = "managed") -> None:
        self.state, self._since, self.repository = TritonState.READY, since, repository
        self.reason: str | None = None
        self.replacements: list[str] = []

    def status(self) -> TritonStatus:
        return TritonStatus(self.state, self._since, self.repository, self.reason, version="2.51.0")

    async def replace(self, reason: str) -> None:
        self.replacements.append(reason)

    def degrade(self, reason: str | None) -> None:
        self.state, self.reason = (TritonState.DEGRADED if reason else TritonState.READY), reason


def _is_probe(inference: Inference) -> bool:
    """A probe sends no more than it must (services/probing)."""
    is_text = inference.inputs[0].name == "text_input"
    return inference.request_id == "probe" or (is_text and "top_p" not in dict(inference.parameters))


def _words(inference: Inference) -> list[str]:
    (prompt,) = (raw.decode() for raw in bytes_elements(inference.inputs[0].raw))
    if len(prompt) > 1000:
        raise InvalidRequest("the prompt has more tokens than the model's context of 1024 holds")
    first, *rest = prompt.split(" ")
    limit = dict(inference.parameters)["max_tokens"]
    assert isinstance(limit, int)
    return [first, *(f" {word}" for word in rest)][:limit]


def _reason(inference: Inference, words: list[str]) -> str:
    return "length" if len(words) == dict(inference.parameters)["max_tokens"] else "stop"


def _prediction(words: list[str], index: int, reason: str) -> Prediction:
    count = len(words)
    return Prediction(
        (
            text_tensor("text_output", *words),
            pack("token_id", "INT32", (count,), list(range(count))),
            pack("probability", "FP32", (count,), [PROBABILITY] * count),
            pack("index", "INT32", (count,), list(range(index, index + count))),
            text_tensor("finish_reason", reason),
        ),
        is_final=False,
    )


def _doubled(tensor: Tensor) -> Tensor:
    if tensor.datatype != "FP32":
        return Tensor("output", tensor.datatype, tensor.shape, tensor.raw)
    count = len(tensor.raw) // 4
    values = [2 * value for value in struct.unpack(f"<{count}f", tensor.raw)]
    return Tensor("output", tensor.datatype, tensor.shape, struct.pack(f"<{count}f", *values))
