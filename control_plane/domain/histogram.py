"""Counts and durations as plain numbers, cheap enough for the hot path."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """How many durations fell under each bound of `BOUNDS_S`, and their sum. Touched by one event loop only."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, took_s: float) -> None:
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s

    def cumulative(self) -> list[tuple[str, int]]:
        """Prometheus buckets: (upper bound in seconds or +Inf, how many are at or under it)."""
        seen, rows = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            seen += count
            rows.append((bound, seen))
        return rows
