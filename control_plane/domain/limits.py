"""How often a caller may ask: classes of requests, the named policies of contract C-RL-03, what is left of a quota."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class LimitClass(StrEnum):
    """What a request counts as. A route says it (C-RL-02); the words are those of the contract."""

    DEFAULT = "default"
    INFERENCE = "inference"
    OPTIMIZATION = "optimization"
    MODEL_MANAGEMENT = "model_management"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` requests in any `window_s` seconds."""

    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Rates by class. A class without one is not limited by count; `default` is then what its answers tell of."""

    name: str
    rates: Mapping[LimitClass, Rate]


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a bucket. `reset_at_s`: epoch seconds, rounded up, when all of it is free again."""

    limit: int
    remaining: int
    reset_at_s: int


def _policy(name: str, **rates: tuple[int, int]) -> Policy:
    return Policy(name, {LimitClass(of): Rate(*rate) for of, rate in rates.items()})


STANDARD = "standard"
POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        _policy(STANDARD, default=(6000, 60), optimization=(60, 300), model_management=(600, 60), batch=(600, 60)),
        _policy(
            "truthgpt",  # seed 000; a batch counts as inference there
            default=(100, 60),
            inference=(10, 60),
            optimization=(5, 300),
            model_management=(20, 60),
            batch=(10, 60),
        ),
        _policy(
            "ai-services",  # seed 002
            default=(1000, 60),
            inference=(100, 60),
            optimization=(50, 60),
            model_management=(50, 60),
            batch=(10, 60),
        ),
        Policy("unlimited", {}),
    )
}
