"""How often a caller may ask, and how much at once: the same buckets for every transport (C-RL-01..07)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from control_plane.domain.access import Principal
from control_plane.domain.errors import DomainError, InvalidRequest, NotFound, NotPermitted, RateLimited
from control_plane.domain.limits import POLICIES, STANDARD, LimitClass, Policy, Quota
from control_plane.edge.addresses import Addresses
from control_plane.edge.usage import Usage
from control_plane.edge.windows import Window, window_of

TOO_OFTEN = "Rate limit exceeded"  # seed 000's words
IN_FLIGHT_RETRY_S = 1
# What is refused before the quota is asked for (C-ERR-09). Some of it only the work finds out.
_FREE = (InvalidRequest, NotPermitted, NotFound)


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """`policy` is the name of that for callers who have none. `trusted_proxies` are networks or addresses."""

    policies: Mapping[str, Policy] = field(default_factory=lambda: POLICIES)
    policy: str = STANDARD
    max_in_flight: int = 256
    trusted_proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Lane:
    """The bucket that a class uses, and the one its answers tell of; None where there is none."""

    counted: Window | None
    told: Window | None


class Quotas:
    """Used by one event loop. `seconds` are those of the epoch, and never go back.

    Raises: InvalidRequest where no policy has the configured name.
    """

    def __init__(self, config: QuotaConfig, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        if config.policy not in config.policies:
            raise InvalidRequest(f"no rate limit policy {config.policy!r}; there are {', '.join(config.policies)}")
        self._lanes = {name: _lanes(policy) for name, policy in config.policies.items()}
        self._otherwise = self._lanes[config.policy]
        self._max_in_flight = config.max_in_flight
        self._in_flight: dict[str, int] = {}
        self.usage = Usage()
        self._addresses = Addresses(config.trusted_proxies)

    def named(self, principal: Principal, peer: str, forwarded_for: str = "") -> Principal:
        """The principal; one without a credential is known by the address it comes from."""
        if not principal.is_anonymous:
            return principal
        address = self._addresses.of(peer, forwarded_for)
        return Principal(f"ip:{address}", principal.role, principal.rate_limit_policy, is_anonymous=True)

    def charge(self, principal: Principal, limit: LimitClass) -> Quota | None:
        """Count one request that is over at once; None where there is no limit to tell of. Raises RateLimited."""
        asked = self.usage.of(principal, limit)
        try:
            quota = self.charge_at(principal, limit, self.seconds())
        except RateLimited:
            asked.refused += 1
            raise
        asked.requests += 1
        return quota

    def charge_at(self, principal: Principal, limit: LimitClass, at_s: float) -> Quota | None:
        lane = self._lane(principal, limit)
        if lane.counted is None:
            return _told(lane, principal, at_s)
        quota = lane.counted.take(principal.id, at_s)
        if quota is None:
            raise _too_often(lane.counted, principal.id, at_s)
        return quota

    def give_back(self, principal: Principal, limit: LimitClass, at_s: float) -> None:
        """The request that was charged at `at_s` costs nothing."""
        lane = self._lane(principal, limit)
        if lane.counted is not None:
            lane.counted.give_back(principal.id, at_s)

    def left(self, principal: Principal, limit: LimitClass) -> Quota | None:
        """What a bucket has left; None where there is no limit to tell of."""
        return _told(self._lane(principal, limit), principal, self.seconds())

    def enter(self, principal: Principal) -> None:
        """`leave` must follow, unless this raises RateLimited."""
        running = self._in_flight.get(principal.id, 0)
        if running >= self._max_in_flight:
            said = f"at most {self._max_in_flight} requests of one caller may run at once"
            raise RateLimited(said, limit=self._max_in_flight, retry_after_seconds=IN_FLIGHT_RETRY_S)
        self._in_flight[principal.id] = running + 1

    def in_flight(self, principal: Principal) -> int:
        return self._in_flight.get(principal.id, 0)

    def leave(self, principal: Principal) -> None:
        running = self._in_flight[principal.id]
        if running > 1:
            self._in_flight[principal.id] = running - 1
        else:
            del self._in_flight[principal.id]

    def _lane(self, principal: Principal, limit: LimitClass) -> _Lane:
        # A name of nobody's may come in a token of another issuer.
        policy = principal.rate_limit_policy
        return (self._otherwise if policy is None else self._lanes.get(policy, self._otherwise))[limit]


class Visit:
    """One request on its way: who asks, what it was charged, and that it is in flight until `leave`."""

    __slots__ = ("_charges", "_is_inside", "_quota", "_quotas", "principal")

    def __init__(self, quotas: Quotas, principal: Principal | None = None) -> None:
        self._quotas, self.principal = quotas, principal
        self._quota: Quota | None = None
        self._charges: list[tuple[LimitClass, float]] = []
        self._is_inside = False

    def enter(self, limit: LimitClass) -> None:
        """Charge it; a second call charges once more. Raises RateLimited, which costs nothing."""
        principal = self.principal
        assert principal is not None
        asked = self._quotas.usage.of(principal, limit)
        try:
            if not self._is_inside:
                self._quotas.enter(principal)
                self._is_inside = True
            at_s = self._quotas.seconds()
            self._quota = self._quotas.charge_at(principal, limit, at_s)
        except RateLimited:
            asked.refused += 1
            raise
        asked.requests += 1
        self._charges.append((limit, at_s))

    def forgive(self, error: DomainError) -> None:
        """Give the last charge back where the request failed of what comes before quotas (C-ERR-09)."""
        if self._charges and self.principal is not None and isinstance(error, _FREE):
            self._quotas.give_back(self.principal, *self._charges.pop())
            self._quota = None

    def left(self, limit: LimitClass) -> Quota | None:
        """What its bucket has left; `limit` names the bucket where nothing was charged."""
        if self._quota is not None or self.principal is None:
            return self._quota
        return self._quotas.left(self.principal, limit)

    def leave(self) -> None:
        """May be called for a request that never came in."""
        if self._is_inside and self.principal is not None:
            self._is_inside = False
            self._quotas.leave(self.principal)


def _lanes(policy: Policy) -> dict[LimitClass, _Lane]:
    windows = {limit: window_of(rate) for limit, rate in policy.rates.items()}
    default = windows.get(LimitClass.DEFAULT)
    used = {limit: windows.get(policy.counts_as.get(limit, limit)) for limit in LimitClass}
    return {limit: _Lane(window, window or default) for limit, window in used.items()}


def _told(lane: _Lane, principal: Principal, now_s: float) -> Quota | None:
    return None if lane.told is None else lane.told.left(principal.id, now_s)


def _too_often(window: Window, who: str, now_s: float) -> RateLimited:
    return RateLimited(
        TOO_OFTEN,
        limit=window.rate.limit,
        window_seconds=window.rate.window_s,
        retry_after_seconds=max(1, math.ceil(window.wait_s(who, now_s))),
    )
