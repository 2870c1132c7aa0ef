"""What every caller has asked since the start, as plain integers; told to admins (X-ADM-01)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from control_plane.domain.access import Principal, Role
from control_plane.domain.limits import LimitClass

CALLERS_MAX = 10_000  # without credentials a caller is an address, and of those there is no end
OTHERS = Principal("(others)", Role.VIEWER)


@dataclass(slots=True)
class Asked:
    """Of one class: how many requests came to work, and how many were refused for their number."""

    requests: int = 0
    refused: int = 0


@dataclass(slots=True)
class CallerUsage:
    principal: Principal
    asked: dict[LimitClass, Asked] = field(default_factory=dict)


class Usage:
    """Touched by one event loop only. Callers beyond CALLERS_MAX are counted together."""

    def __init__(self) -> None:
        self._callers: dict[str, CallerUsage] = {}

    def of(self, principal: Principal, limit: LimitClass) -> Asked:
        caller = self._callers.get(principal.id)
        if caller is None:
            caller = self._new(principal)
        asked = caller.asked.get(limit)
        if asked is None:
            asked = caller.asked[limit] = Asked()
        return asked

    def __iter__(self) -> Iterator[CallerUsage]:
        return iter(list(self._callers.values()))

    def _new(self, principal: Principal) -> CallerUsage:
        if len(self._callers) >= CALLERS_MAX:
            principal = OTHERS
        return self._callers.setdefault(principal.id, CallerUsage(principal))
