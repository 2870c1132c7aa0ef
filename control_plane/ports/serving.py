"""Triton: its hot half, its slow half, and its life."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from control_plane.domain.models import Signature
from control_plane.domain.tensors import Inference, Prediction
from control_plane.domain.triton import IndexEntry, Statistics, TritonStatus


class Triton(Protocol):
    """The hot half of Triton: tensors in and out of a loaded model directory.

    Raises: InvalidRequest, ModelNotFound, ModelNotReady, Unavailable, TimedOut, EngineFailed, EngineCrashed.
    """

    async def infer(self, inference: Inference) -> Prediction: ...

    def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        """Closing the generator cancels the request inside Triton."""

    def answered_at_s(self, directory: str) -> float:
        """When it last answered anybody, by some clock: the number moves while the model works."""


class TritonControl(Protocol):
    """The slow half of Triton: which model directories are loaded."""

    async def load(self, directory: str, timeout_s: float) -> None:
        """Returns when the directory is READY. Raises EngineFailed with Triton's reason, TimedOut, Unavailable."""

    async def unload(self, directory: str, timeout_s: float) -> None:
        """Returns when requests in flight have finished and the memory is free. Unloading twice is fine."""

    async def index(self) -> Sequence[IndexEntry]: ...

    async def signature(self, directory: str) -> Signature: ...

    async def statistics(self, directory: str) -> Statistics: ...

    def memory_bytes(self, directory: str) -> int | None:
        """Resident size of the processes that execute the directory; None where it cannot be told."""


class TritonServer(Protocol):
    """A Triton's life: ours to start and stop, or somebody else's that we only watch."""

    def status(self) -> TritonStatus: ...

    async def replace(self, reason: str) -> None:
        """Kill the server and start a new one; the only cure for a load that hangs. No-op for an external Triton."""

    def degrade(self, reason: str | None) -> None:
        """A model is dead (or, with None, no longer): READY <-> DEGRADED."""
