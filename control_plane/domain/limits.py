"""How often a caller may ask: classes of requests, the named policies of contract C-RL-03, what is left of a quota."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from control_plane.domain.errors import InvalidRequest


class LimitClass(StrEnum):
    """What a request counts as. A route says it (C-RL-02); the words are those of the contract, but for the last."""

    DEFAULT = "default"
    INFERENCE = "inference"
    OPTIMIZATION = "optimization"
    MODEL_MANAGEMENT = "model_management"
    BATCH = "batch"
    MODEL_READS = "model_reads"  # `GET /models*`: management to seed 000's rule (T-RL-03), default to everybody else


TOLD_CLASSES = tuple(limit.value for limit in LimitClass if limit is not LimitClass.MODEL_READS)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` requests in any `window_s` seconds."""

    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Rates by class. A class without one is not limited by count; `default` is then what its answers tell of.

    `counts_as`: a class that has no bucket of its own, and the one whose bucket it uses.
    """

    name: str
    rates: Mapping[LimitClass, Rate]
    counts_as: Mapping[LimitClass, LimitClass] = field(
        default_factory=lambda: {LimitClass.MODEL_READS: LimitClass.DEFAULT}
    )


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a bucket. `reset_at_s`: epoch seconds, rounded up, when all of it is free again."""

    limit: int
    remaining: int
    reset_at_s: int


def policies_of(told: Mapping[str, Mapping[str, str]]) -> dict[str, Policy]:
    """Policies as an operator writes them: by name, and for a class `requests/seconds`.

    Raises: InvalidRequest with one sentence that says what is wrong.
    """
    return {
        name: Policy(name, {_class(limit): _rate(rate) for limit, rate in rates.items()})
        for name, rates in told.items()
    }


def _class(word: str) -> LimitClass:
    if word not in TOLD_CLASSES:
        raise InvalidRequest(f"{word!r} is no class of requests; there are {', '.join(TOLD_CLASSES)}")
    return LimitClass(word)


def _rate(word: str) -> Rate:
    matched = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,5})", word) if isinstance(word, str) else None
    if matched is None:
        raise InvalidRequest(f"{word!r} is no rate; 100/60 means 100 requests in any 60 seconds")
    return Rate(int(matched[1]), int(matched[2]))


def _policy(name: str, **rates: tuple[int, int]) -> Policy:
    return Policy(name, {LimitClass(of): Rate(*rate) for of, rate in rates.items()})


_TRUTHGPT = _policy("truthgpt", default=(100, 60), inference=(10, 60), optimization=(5, 300), model_management=(20, 60))
_AS_THE_SEED = {LimitClass.BATCH: LimitClass.INFERENCE, LimitClass.MODEL_READS: LimitClass.MODEL_MANAGEMENT}

STANDARD = "standard"
UNLIMITED = "unlimited"
POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        _policy(STANDARD, default=(6000, 60), optimization=(60, 300), model_management=(600, 60), batch=(600, 60)),
        replace(_TRUTHGPT, counts_as=_AS_THE_SEED),  # seed 000
        _policy(
            "ai-services",  # seed 002
            default=(1000, 60),
            inference=(100, 60),
            optimization=(50, 60),
            model_management=(50, 60),
            batch=(10, 60),
        ),
        Policy(UNLIMITED, {}),
    )
}
