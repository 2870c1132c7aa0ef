"""LLMgine's words on HTTP."""

from __future__ import annotations

from pydantic import BaseModel

from control_plane.edge.http.schemas import Timestamp


class TritonReadiness(BaseModel):
    """`state` is our supervisor's word; `reason` says why it is not ready.

    `repository`: managed (our own Triton), shared (an external one that reads our repository) or read-only.
    """

    initialized: bool
    ready: bool
    loaded_models: int
    state: str
    repository: str
    reason: str | None


class ReadinessResponse(BaseModel):
    status: str
    timestamp: Timestamp
    services: dict[str, TritonReadiness]
    reason: str | None = None


class LivenessResponse(BaseModel):
    """`pid` is null only where the operator hides it."""

    status: str
    timestamp: Timestamp
    pid: int | None
