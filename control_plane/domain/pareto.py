"""Which of several ways to serve a model nothing else beats in everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """What a way to serve was measured at. Units: seconds, items a second, bytes; `memory_bytes` None: unknown."""

    name: str
    latency_p99_s: float
    throughput: float
    memory_bytes: int | None
    accuracy: float


def pareto_front(points: Sequence[Point]) -> tuple[Point, ...]:
    """Those that no other dominates, in their order; equals stay together.

    One dominates another that is at least as good in everything and better in something. Unknown memory counts as the
    most: what was not measured is no merit. Raises: ValueError for what is no number.
    """
    merits = [_merits(point) for point in points]
    return tuple(
        point for point, own in zip(points, merits, strict=True) if not any(_dominates(other, own) for other in merits)
    )


def _merits(point: Point) -> tuple[float, ...]:
    """More is better."""
    memory = math.inf if point.memory_bytes is None else point.memory_bytes
    merits = (-point.latency_p99_s, point.throughput, -memory, point.accuracy)
    if any(math.isnan(merit) for merit in merits):
        raise ValueError(f"{point.name} has a value that is no number")
    return merits


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(ours >= theirs for ours, theirs in zip(one, other, strict=True))
