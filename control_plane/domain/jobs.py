"""Long work with an id: what is asked for, how far it is, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

JsonObject = dict[str, object]


class JobState(StrEnum):
    """A job only ever moves down this list, and leaves the last three never."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobKind(StrEnum):
    """What a job does; each kind has one workflow."""

    IMPORT = "import"  # a model from somewhere into the repository
    EXPORT = "export"  # a revision out of it, as one file
    CONFIGURE = "configure"  # a new revision of the same files with another configuration
    OPTIMIZE = "optimize"  # a new revision that is faster or smaller, measured beside its baseline


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed: a domain error's code, message and details."""

    code: str
    message: str
    details: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """`progress` is 0..100, never falls, and is 100 only when completed. `step`: what it is at now, in words.

    `parameters` and `result` are JSON values that the client may see; `model` is the name it works on.
    """

    id: str
    kind: JobKind
    model: str
    created_at: datetime
    created_by: str
    parameters: JsonObject = field(default_factory=dict)
    state: JobState = JobState.QUEUED
    progress: float = 0.0
    step: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: JsonObject | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list holds; None and empty mean any. `parameters`: texts that theirs have."""

    kind: JobKind | None = None
    model: str | None = None
    states: frozenset[JobState] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
