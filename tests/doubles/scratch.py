"""A scratch Triton without a Triton: models that take as long as they are told, fail, or take their server along."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from control_plane.domain.errors import DomainError, EngineCrashed, EngineFailed, ModelNotFound, Unavailable
from control_plane.domain.models import Signature
from control_plane.domain.tensors import Inference, Prediction, text_tensor
from control_plane.domain.triton import IndexEntry, Statistics

PSS_BYTES = 50_000_000


class InMemoryScratch:
    """Satisfies `ScratchTriton`, and the `Triton` and `TritonControl` that it has.

    A request takes `delay_s`, or what `delays` has for the directory, in seconds; `next_delays` what each load changes
    that to; `noise` is the standard deviation of its logarithm. By directory also: `tokens` how many a text model
    writes at most; `pss` its memory; `refusals` what a load fails with; `failures` what a request fails with, after so
    many that went well. A load of `killers`, or a request to one that has been loaded, takes the server along;
    `is_lost`: it does not come back.
    """

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.loaded: set[str] = set()
        self.loads, self.unloads = list[str](), list[str]()
        self.requests: list[Inference] = []
        self.in_flight = 0
        self.deaths, self.is_down, self.is_lost = 0, False, False
        self.delay_s = 0.0
        self.delays: dict[str, float] = {}
        self.next_delays: dict[str, list[float]] = {}
        self.noise: dict[str, float] = {}
        self._noise = random.Random(0)
        self.tokens: dict[str, int] = {}
        self.pss: dict[str, int | None] = {}
        self.refusals: dict[str, DomainError] = {}
        self.failures: dict[str, tuple[int, DomainError]] = {}
        self.killers: set[str] = set()
        self.signatures: dict[str, Signature] = {}

    @property
    def triton(self) -> InMemoryScratch:
        return self

    @property
    def control(self) -> InMemoryScratch:
        return self

    @property
    def address(self) -> str:
        self._check_up()
        return "127.0.0.1:1"

    async def ready(self) -> None:
        if self.is_lost:
            raise Unavailable("the scratch Triton cannot be started")
        self.is_down = False

    def pss_bytes(self, directory: str) -> int | None:
        return self.pss.get(directory, PSS_BYTES) if directory in self.loaded else None

    def put(self, directory: str, delay_s: float = 0.0) -> str:
        """A model directory as somebody stages it."""
        (self.repository / directory).mkdir(parents=True, exist_ok=True)
        self.delays[directory] = delay_s
        return directory

    def die(self) -> None:
        self.deaths += 1
        self.is_down = True
        self.loaded.clear()

    async def load(self, directory: str, timeout_s: float) -> None:
        self._check_up()
        self.loads.append(directory)
        await asyncio.sleep(0)
        if directory in self.killers:
            self.die()
            raise _lost()
        if directory in self.refusals:
            raise self.refusals[directory]
        if not (self.repository / directory).is_dir():
            raise EngineFailed(f"Triton refuses the repository entry {directory!r}; its log says why")
        self.loaded.add(directory)
        if self.next_delays.get(directory):
            self.delays[directory] = self.next_delays[directory].pop(0)

    async def unload(self, directory: str, timeout_s: float) -> None:
        self._check_up()
        self.unloads.append(directory)
        self.loaded.discard(directory)

    async def index(self) -> Sequence[IndexEntry]:
        self._check_up()
        return [IndexEntry(directory, "READY", "") for directory in sorted(self.loaded)]

    async def signature(self, directory: str) -> Signature:
        if directory not in self.signatures:
            raise ModelNotFound(f"Triton has no model {directory!r}")
        return self.signatures[directory]

    async def statistics(self, directory: str) -> Statistics:
        count = self._count(directory)
        return Statistics(count, count, count, 0, 0, 0, 0)

    def memory_bytes(self, directory: str) -> int | None:
        return self.pss_bytes(directory)

    def answered_at_s(self, directory: str) -> float:
        return float(self._count(directory))

    async def infer(self, inference: Inference) -> Prediction:
        await self._work(inference)
        return Prediction(inference.inputs)

    async def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        await self._work(inference)
        wanted = int(dict(inference.parameters)["max_tokens"])
        count = min(wanted, self.tokens.get(inference.directory, wanted))
        if _prompt(inference).startswith("short"):  # such a prompt ends early whatever the model
            count = min(count, 1)
        yield Prediction((text_tensor("text_output", *["a"] * count),), is_final=False)
        yield Prediction(())

    async def _work(self, inference: Inference) -> None:
        self._check_up()
        directory = inference.directory
        if directory not in self.loaded:
            raise ModelNotFound(f"Triton has no model {directory!r}")
        if directory in self.killers:
            self.die()
            raise _lost()
        self.requests.append(inference)
        after, failure = self.failures.get(directory, (0, None))
        if failure is not None and self._count(directory) > after:
            raise failure
        self.in_flight += 1
        try:
            delay_s = self.delays.get(directory, self.delay_s)
            await asyncio.sleep(delay_s * self._noise.lognormvariate(0.0, self.noise.get(directory, 0.0)))
        finally:
            self.in_flight -= 1

    def _count(self, directory: str) -> int:
        return sum(request.directory == directory for request in self.requests)

    def _check_up(self) -> None:
        if self.is_down:
            raise _lost()


class InMemoryScratches:
    """Satisfies `ScratchTritons`. `prepare` is told of each that is opened; `refusal`: why none can be.

    `together`: how many were open at most.
    """

    def __init__(self, prepare: Callable[[InMemoryScratch], None] = lambda scratch: None) -> None:
        self.opened: list[InMemoryScratch] = []
        self.closed, self.together = 0, 0
        self.refusal: DomainError | None = None
        self._prepare = prepare

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[InMemoryScratch]:
        if self.refusal is not None:
            raise self.refusal
        repository = folder / "repository"
        repository.mkdir(parents=True, exist_ok=True)
        scratch = InMemoryScratch(repository)
        self.opened.append(scratch)
        self.together = max(self.together, len(self.opened) - self.closed)
        self._prepare(scratch)
        try:
            yield scratch
        finally:
            self.closed += 1


def crashed(directory: str) -> EngineCrashed:
    return EngineCrashed(f"the process that executes {directory!r} has died; it is being replaced")


def _lost() -> Unavailable:
    return Unavailable("Triton does not answer; it may be restarting", retry_after_seconds=1)


def _prompt(inference: Inference) -> str:
    return inference.inputs[0].raw[4:].decode()
