"""Who calls, and what a caller may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from control_plane.domain.errors import NotPermitted


class Role(StrEnum):
    """Roles in rising order; each may do what the ones before it may."""

    VIEWER = "viewer"  # reads: models, status, metrics
    USER = "user"  # inference, own jobs and sessions
    ADMIN = "admin"  # load, unload, import, keys

    def covers(self, needed: Role) -> bool:
        return _RANKS[self] >= _RANKS[needed]


_RANKS = {role: rank for rank, role in enumerate(Role)}  # every request is compared


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a verified credential speaks for. `expires_at_s`: epoch seconds after which it speaks for nobody."""

    id: str
    role: Role
    rate_limit_policy: str | None = None
    expires_at_s: float | None = None
    is_anonymous: bool = False

    def require(self, needed: Role) -> None:
        if not self.role.covers(needed):
            raise NotPermitted(
                f"this needs the role {needed.value}; yours is {self.role.value}", required_role=needed.value
            )


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is kept: never the key itself, only the SHA-256 of it."""

    id: str
    digest: str
    name: str
    role: Role
    created_at: datetime
    rate_limit_policy: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token of ours says. `expires_at_s` is epoch seconds."""

    subject: str
    role: Role
    expires_at_s: float
    rate_limit_policy: str | None = None
