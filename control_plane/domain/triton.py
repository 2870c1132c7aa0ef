"""What a Triton server is doing, and what it says of its models."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum

READ_ONLY = "read-only"


class TritonState(StrEnum):
    """The life of a supervised Triton; an external one is never spawned, tested or restarted by us."""

    STOPPED = "stopped"
    PREPARE = "prepare"  # backend directory, preflight, leftovers of an earlier life
    STARTING = "starting"  # spawned, waiting for it to answer
    SELFTEST = "selftest"  # a golden inference shows that tensors arrive whole
    LOADING = "loading"  # desired models
    READY = "ready"
    DEGRADED = "degraded"  # serves, but a model is dead
    CRASHED = "crashed"  # waiting out the back-off before PREPARE
    DRAINING = "draining"  # out of rotation, requests in flight finish
    STOPPING = "stopping"
    UNREACHABLE = "unreachable"

    @property
    def serves(self) -> bool:
        return self in (TritonState.LOADING, TritonState.READY, TritonState.DEGRADED)


@dataclass(frozen=True, slots=True)
class TritonStatus:
    """A server now. `repository` says whether it reads ours: managed, shared, or read-only."""

    state: TritonState
    since: datetime
    repository: str
    reason: str | None = None
    restarts: int = 0
    version: str | None = None

    @property
    def is_read_only(self) -> bool:
        """Whether it serves a repository of its own, so that we cannot tell it what to load."""
        return self.repository == READ_ONLY


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A line of Triton's repository index. `state` is READY, LOADING, UNLOADING, UNAVAILABLE or ''."""

    directory: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """Triton's own counters of one model directory. Units: `_us` are microseconds, summed.

    `cancel_count` moves only for backends that report it; a cancelled request of a Python model counts as a success.
    """

    inference_count: int
    execution_count: int
    success_count: int
    failure_count: int
    cancel_count: int
    queue_us: int
    compute_infer_us: int

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(*(own + its for own, its in zip(astuple(self), astuple(other), strict=True)))
