"""Comparing two things that were measured in turns: medians, their ratio, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_SEED = 2026


@dataclass(frozen=True, slots=True)
class Rounds:
    """What was measured, round by round: in each, a few values of the baseline and as many of the candidate."""

    baseline: tuple[tuple[float, ...], ...]
    candidate: tuple[tuple[float, ...], ...]

    @property
    def samples(self) -> int:
        """Of each of the two."""
        return sum(map(len, self.candidate))


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio, and the bounds that hold it in 95 % and in 99.9 % of resamplings."""

    value: float
    low: float
    high: float
    low_999: float


def ratio_of_medians(over: Sequence[Sequence[float]], under: Sequence[Sequence[float]], seed: int = _SEED) -> Interval:
    """median(over) / median(under), of rounds that belong together.

    The intervals are percentile bootstraps over whole rounds: what disturbs a round disturbs both sides of it.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    Raises: ValueError for rounds that are no pairs, or hold nothing.
    """
    if len(over) != len(under) or not over or not all(over) or not all(under):
        raise ValueError("each round needs values of both sides")
    if len({len(one) for one in (*over, *under)}) != 1:
        raise ValueError("each round needs equally many values")
    above, below = np.array(over, np.float64), np.array(under, np.float64)
    random = np.random.default_rng(seed)
    chosen = random.integers(0, len(above), (RESAMPLES, len(above)))
    ratios = _medians(above, chosen) / _medians(below, chosen)
    low_999, low, high = np.quantile(ratios, [0.0005, 0.025, 0.975])
    return Interval(float(np.median(above) / np.median(below)), float(low), float(high), float(low_999))


def quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(np.array(values, np.float64), share))


def _medians(values: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    medians: NDArray[np.float64] = np.median(values[chosen].reshape(len(chosen), -1), axis=1)
    return medians
