"""The words of /admin."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from control_plane.domain.access import Role
from control_plane.domain.configuration import Origin
from control_plane.domain.limits import LimitClass
from control_plane.edge.http.schemas import Timestamp


class ClassUsage(BaseModel):
    """`requests` came to work, `refused` were too many. The last three tell of the quota now; null without a limit."""

    limit_class: LimitClass
    requests: int
    refused: int
    limit: int | None
    used: int | None
    reset_at: Timestamp | None


class CallerUsageInfo(BaseModel):
    principal: str
    role: Role
    rate_limit_policy: str | None
    in_flight: int
    classes: list[ClassUsage]


class ModelUsage(BaseModel):
    """`refusals` are requests in which the model found a mistake, and no failures. A token of images is a step of one.

    Units: `seconds` of all inferences that succeeded.
    """

    model: str
    successes: int
    failures: int
    refusals: int
    in_flight: int
    tokens: int
    seconds: float


class RouteUsage(BaseModel):
    """`statuses`: how many requests were answered with each."""

    dialect: str
    method: str
    route: str
    statuses: dict[str, int]


class UsageResponse(BaseModel):
    """Counted since `since`, when this server started."""

    since: Timestamp
    callers: list[CallerUsageInfo]
    models: list[ModelUsage]
    routes: list[RouteUsage]


class SettingInfo(BaseModel):
    """`name` is the environment's. The value of a secret is `(set)` or null."""

    name: str
    value: Any
    origin: Origin


class ConfigResponse(BaseModel):
    settings: list[SettingInfo]


class AuditLine(BaseModel):
    """Further fields say what came of it: `revision`, `job_id`, `key_id`."""

    model_config = ConfigDict(extra="allow")

    at: Timestamp
    who: str | None
    role: str | None
    door: str | None
    request_id: str | None
    verb: str
    object: str
    result: str
