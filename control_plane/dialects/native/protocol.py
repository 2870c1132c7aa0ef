"""Our own API's words on HTTP."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from control_plane.domain.access import Role
from control_plane.domain.jobs import JobKind, JobState
from control_plane.domain.models import HealthStatus, ModelState
from control_plane.edge.http.schemas import Timestamp
from control_plane.services.access import NAME_LENGTH_MAX, TOKEN_S_DEFAULT, TOKEN_S_MAX

_NAME: dict[str, JsonValue] = {"minLength": 1, "maxLength": NAME_LENGTH_MAX}


class TokenBody(BaseModel):
    """All may be left out: then the token is the caller's own. Units: `expires_in` seconds."""

    sub: str | None = Field(default=None, json_schema_extra=_NAME)
    role: Role | None = None
    rate_limit_policy: str | None = None
    expires_in: int = Field(default=TOKEN_S_DEFAULT, ge=1, le=TOKEN_S_MAX, strict=True)


class TokenResponse(BaseModel):
    access_token: str
    token_type: str = "bearer"  # noqa: S105 - RFC 6749's word, no secret
    expires_in: int
    role: Role


class KeyBody(BaseModel):
    """`expires_at` has a time zone; left out, the key works until it is deleted."""

    name: str = Field(json_schema_extra=_NAME)
    role: Role
    rate_limit_policy: str | None = None
    expires_at: AwareDatetime | None = None


class KeyInfo(BaseModel):
    key_id: str
    name: str
    role: Role
    rate_limit_policy: str | None
    created_at: Timestamp
    expires_at: Timestamp | None


class NewKeyResponse(KeyInfo):
    """`api_key` is shown this once."""

    api_key: str


class Me(BaseModel):
    sub: str
    role: Role
    rate_limit_policy: str | None


class HealthInfo(BaseModel):
    status: HealthStatus
    since: Timestamp | None
    reason: str | None


class RevisionInfo(BaseModel):
    """`precision` is null where the files do not say; `conversion` (steps, checks, tools) for what was imported as it
    is. Units: bytes."""

    revision: int
    state: ModelState
    health: HealthInfo
    source: str
    digest: str
    backend: str
    precision: str | None
    labels: dict[str, str]
    size_bytes: int
    memory_bytes: int | None
    created_at: Timestamp
    created_by: str
    conversion: dict[str, Any] | None
    evidence: bool
    last_error: str | None


class RevisionsResponse(BaseModel):
    """`aliases` says which revision each alias points at."""

    model: str
    aliases: dict[str, int]
    revisions: list[RevisionInfo]


class Settings(BaseModel):
    """What may differ from the revision's configuration. Units: microseconds."""

    instance_count: int | None = Field(default=None, ge=1, le=64, strict=True)
    max_batch_size: int | None = Field(default=None, ge=0, le=65_536, strict=True)
    dynamic_batching_delay_us: int | None = Field(default=None, ge=0, le=10_000_000, strict=True)


class LoadBody(Settings):
    """Anything set that differs from the revision makes a new one. Units: seconds, microseconds."""

    timeout_seconds: float = Field(default=300, gt=0, le=3600, strict=True)


class ChangedSettings(Settings):
    model_config = ConfigDict(extra="forbid")


class ChangeBody(BaseModel):
    """A new revision of the same files with another configuration; at least one setting."""

    model_config = ConfigDict(extra="forbid")
    config: ChangedSettings


class SubmittedResponse(BaseModel):
    """Watch it at /native/v1/jobs/{job_id}/events."""

    job_id: str


class LoadedResponse(BaseModel):
    model: str
    revision: int
    state: ModelState
    health: HealthInfo


class FailureInfo(BaseModel):
    """The same words that a refused request gets."""

    code: str
    message: str
    details: dict[str, JsonValue]


class JobInfo(BaseModel):
    """`model` is the name it works on; `step` says what it is at. Units: `progress` 0 to 100, 100 once completed."""

    id: str
    kind: JobKind
    model: str
    state: JobState
    progress: float
    step: str | None
    created_at: Timestamp
    created_by: str
    started_at: Timestamp | None
    finished_at: Timestamp | None
    parameters: dict[str, JsonValue]
    result: dict[str, JsonValue] | None
    error: FailureInfo | None


class CatalogCandidate(BaseModel):
    """One way to a better model. `graph`: what its steps begin with (baseline, source, or the best found so far).
    `settings`: how Triton serves it."""

    name: str
    takes: list[str]
    graph: str
    available: bool
    reason: str | None
    steps: list[dict[str, JsonValue]]
    settings: dict[str, JsonValue]


class CatalogLevel(BaseModel):
    """What a level adds to the one before. `candidates_max` null: as many as the time allows."""

    name: str
    summary: str
    min_accuracy: float | None
    candidates_max: int | None
    available: bool
    reason: str | None
    candidates: list[CatalogCandidate]
    searches: list[str]


class CatalogRecipe(BaseModel):
    name: str
    summary: str
    available: bool
    reason: str | None


class CatalogResponse(BaseModel):
    levels: list[CatalogLevel]
    recipes: list[CatalogRecipe]
