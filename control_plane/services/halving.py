"""Finding the best of many with little measuring: all a little, the better ones more, the best most."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Candidate = TypeVar("Candidate")


@dataclass(frozen=True, slots=True)
class Budget:
    """`rounds` of the first rung; a rung later the share `keep` goes on, with 1 / `keep` as many, to `rounds_max`."""

    rounds: int = 3
    rounds_max: int = 30
    keep: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= self.rounds_max or not 0 < self.keep < 1:
            raise ValueError(f"a budget needs 1 or more rounds up to its maximum, and a share between 0 and 1: {self}")


@dataclass(frozen=True, slots=True)
class Rung(Generic[Candidate]):
    """Who was measured with so many rounds, best first; None for who failed. Not `is_whole`: the time was over."""

    rounds: int
    values: tuple[tuple[Candidate, float | None], ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Halved(Generic[Candidate]):
    """`ranking`: all that did not fail, best first; who got further stands before who did not."""

    ranking: tuple[Candidate, ...]
    rungs: tuple[Rung[Candidate], ...]


async def successive_halving(
    candidates: Sequence[Candidate],
    measure: Callable[[Candidate, int], Awaitable[float | None]],
    budget: Budget,
    is_out_of_time: Callable[[], bool],
) -> Halved[Candidate]:
    """`measure` gives how good a candidate is after so many rounds (more is better), or None when it failed.

    A rung in which the time ran out decides nothing: its candidates keep the order of the rung before, and what was
    measured first decides where there is none before.
    Source: Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016.
    """
    rungs: list[Rung[Candidate]] = []
    running, beaten, rounds = list(candidates), list[Candidate](), budget.rounds
    while running:
        rung = await _climb(running, measure, rounds, is_out_of_time)
        rungs.append(rung)
        if rung.is_whole or len(rungs) == 1:
            running = [candidate for candidate, value in rung.values if value is not None]
        else:
            failed = [position for position, (_, value) in enumerate(rung.values) if value is None]
            lost = [rung.values[position][0] for position in failed]
            running = [candidate for candidate in running if not any(candidate is one for one in lost)]
        if not rung.is_whole or rounds >= budget.rounds_max or len(running) <= 1:
            break
        kept = max(1, math.ceil(len(running) * budget.keep))
        running, beaten = running[:kept], running[kept:] + beaten
        rounds = min(budget.rounds_max, math.ceil(rounds / budget.keep))
    return Halved((*running, *beaten), tuple(rungs))


async def _climb(
    candidates: Sequence[Candidate],
    measure: Callable[[Candidate, int], Awaitable[float | None]],
    rounds: int,
    is_out_of_time: Callable[[], bool],
) -> Rung[Candidate]:
    values: list[tuple[Candidate, float | None]] = []
    for candidate in candidates:
        if is_out_of_time():
            break
        values.append((candidate, await measure(candidate, rounds)))
    # Stable: of equals, the one that was better before (or came first) stays before the other.
    ordered = sorted(values, key=lambda one: -math.inf if one[1] is None else one[1], reverse=True)
    return Rung(rounds, tuple(ordered), is_whole=len(values) == len(candidates))
