"""Counts and durations as plain numbers, cheap enough for the hot path."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from math import frexp, ldexp

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


# Each doubling of a duration is cut into 16 buckets of equal width, so that the middle of a bucket is never further
# than 1/32 (3.2 %) from any duration in it.
RELATIVE_ERROR = 1 / 32
_PARTS = 16
_FIRST, _LAST = -19, 14  # exponents of two
_SHORTEST_S, _LONGEST_S = 2.0 ** (_FIRST - 1), 2.0**_LAST  # 1 us and 4.5 h; what lies beyond counts as these
LAST_BUCKET = (_LAST - _FIRST + 1) * _PARTS - 1


def bucket(took_s: float) -> int:
    """The fine bucket of a duration, 0..LAST_BUCKET."""
    if took_s < _SHORTEST_S:
        return 0
    if took_s >= _LONGEST_S:
        return LAST_BUCKET
    mantissa, exponent = frexp(took_s)  # took_s == mantissa * 2**exponent, 0.5 <= mantissa < 1
    return (exponent - _FIRST) * _PARTS + int(mantissa * 2 * _PARTS) - _PARTS


def middle_s(index: int) -> float:
    """The duration that stands for all of a bucket."""
    exponent, part = divmod(index, _PARTS)
    return ldexp((_PARTS + part + 0.5) / (2 * _PARTS), exponent + _FIRST)


def percentile_s(counts: Mapping[int, int], percent: int) -> float | None:
    """The nearest-rank percentile of durations counted by bucket, off by at most RELATIVE_ERROR; None without any."""
    rank = -(-percent * sum(counts.values()) // 100)
    for index in sorted(counts):
        rank -= counts[index]
        if rank <= 0:
            return middle_s(index)
    return None
