"""Quotas as tests need them: unlimited unless they are what is tested."""

from __future__ import annotations

from control_plane.domain.limits import POLICIES, UNLIMITED
from control_plane.edge.quotas import QuotaConfig, Quotas
from tests.doubles.clock import FixedClock


def unlimited() -> Quotas:
    """Nobody is counted, so that a shared server never answers one test for what another has asked."""
    return Quotas(QuotaConfig(policy=UNLIMITED, max_in_flight=10_000), FixedClock().seconds)


def limited(clock: FixedClock, policy: str = "truthgpt", **config: object) -> Quotas:
    """By the clock of the test, under `policy`."""
    return Quotas(QuotaConfig(**{"policies": POLICIES, "policy": policy, **config}), clock.seconds)  # type: ignore[arg-type]
