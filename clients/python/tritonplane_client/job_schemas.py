"""What the server tells of jobs and of what happens, as typed dictionaries."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class JobError(TypedDict):
    code: str
    message: str
    details: dict[str, Any]


class Job(TypedDict):
    """Long work. `state` is queued, running, completed, failed or cancelled; `progress` goes from 0 to 100."""

    id: str
    kind: str
    model: str
    state: str
    progress: float
    step: str | None
    created_at: str
    created_by: str
    started_at: str | None
    finished_at: str | None
    parameters: dict[str, Any]
    result: dict[str, Any] | None
    error: JobError | None


class JobEvent(TypedDict):
    """What happened to a job: `kind` is queued, started, resumed, progress, or the state that it ended in."""

    seq: int
    kind: str
    at: str
    state: str
    progress: float
    step: str | None
    result: NotRequired[dict[str, Any]]
    error: NotRequired[JobError]


class Event(TypedDict):
    """What happened to anything; `topic` is job, model, revision or health."""

    seq: int
    at: str
    topic: str
    subject: str
    kind: str
    payload: dict[str, Any]
