"""What optimizing a model needs of the world outside: a Triton to try it in, and a load generator."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control_plane.domain.tensors import Tensor
from control_plane.ports.conversion import Report
from control_plane.ports.serving import Triton, TritonControl


class ScratchTriton(Protocol):
    """A tritonserver that serves nobody else: a bad model can kill a server, and it must not be the one that serves."""

    @property
    def repository(self) -> Path:
        """Where it looks for model directories; nothing is loaded that `control` was not asked to load."""

    @property
    def triton(self) -> Triton: ...

    @property
    def control(self) -> TritonControl: ...

    @property
    def address(self) -> str:
        """Where it answers gRPC. Raises Unavailable while it is down."""

    @property
    def deaths(self) -> int:
        """How often it has died so far; each time it comes back by itself, with no model loaded."""

    async def ready(self) -> None:
        """Wait until it serves (again). Raises Unavailable when it does not come back."""

    def pss_bytes(self, directory: str) -> int | None:
        """The proportional set size of the processes that execute a model; None where it cannot be told."""


class ScratchTritons(Protocol):
    def open(self, folder: Path) -> AbstractAsyncContextManager[ScratchTriton]:
        """Start one in a folder of its own; at the end nothing of it is left. Raises Unavailable, Unsupported.

        A folder that another server died in is opened again: what it left running or in shared memory goes first.
        """


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """A load for a model directory: `concurrency` requests at a time, each with the inputs of one of `requests`.

    `is_streaming`: for a decoupled model. `parameters` travel with each request. `has_batch_axis`: the model's
    `max_batch_size` is above 0, and the first axis of each input is that of a batch. Units: seconds.
    """

    address: str
    directory: str
    requests: Sequence[tuple[Tensor, ...]]
    concurrency: int
    folder: Path
    is_streaming: bool = False
    parameters: tuple[tuple[str, bool | int | float | str], ...] = ()
    window_s: float = 2.0
    has_batch_axis: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """What a load generator measured. Units: requests a second, seconds."""

    tool: str
    concurrency: int
    requests_per_s: float
    latency_p50_s: float
    latency_p95_s: float
    latency_p99_s: float
    requests: int


class Profiler(Protocol):
    """perf_analyzer. Raises: Unsupported where it cannot run here; EngineFailed, TimedOut."""

    async def prepare(self, report: Report) -> None:
        """Fetch it if it is not there yet."""

    async def profile(self, request: ProfileRequest) -> Profile: ...
