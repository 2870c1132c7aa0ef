"""Comparing two things that were measured in turns: medians, their ratio, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000  # the standard error is then itself known to 1.6 %
ROUNDS_MIN = 2  # one round says nothing of how much rounds differ
_SEED = 2026
_TAIL_95, _TAIL_999 = 0.025, 0.0005  # beyond each end of an interval of 95 % and of 99.9 %
_HALVINGS = 60  # of the range of Student's t: to the last digit of a float


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
    """A ratio, the ends of its 95 % interval, and the lower end of its 99.9 % interval."""

    value: float
    low: float
    high: float
    low_999: float


def ratio_of_medians(
    over: Sequence[Sequence[float]],
    under: Sequence[Sequence[float]],
    seed: int = _SEED,
    parts: Sequence[int] = (),
) -> Interval:
    """median(over) / median(under), of rounds that belong together.

    The standard error of the ratio's logarithm is bootstrapped over whole rounds, as what disturbs a round disturbs
    both sides of it; Student's t of one degree of freedom less than there are rounds makes intervals of it. The
    quantiles of the bootstrap itself are too narrow for few rounds, and have no tail of one in two thousand.

    `parts`: how many rounds, one after the other, have something in common, as where in memory a model lay. From the
    ratios of two or more parts alone the same is made, with one degree of freedom less than there are parts; the wider
    interval is given. The error of a median is that of a mean times sqrt(pi / 2), for many parts.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapters 6 and 12; on few samples, and the factor
    n / (n - 1): Hesterberg, What Teachers Should Know About the Bootstrap (2015).
    Raises: ValueError for fewer than two rounds, rounds that are no pairs or hold nothing, or values not above zero.
    """
    above, below = _table(over), _table(under)
    if above.shape[0] != below.shape[0]:
        raise ValueError("each round needs values of both sides")
    count = len(above)
    chosen = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    logarithms = np.log(_medians(above, chosen)) - np.log(_medians(below, chosen))
    errors = [(float(logarithms.std()) * math.sqrt(count / (count - 1)), count - 1)]
    if len(parts) > 1:
        errors.append((_error_of_parts(above, below, parts), len(parts) - 1))
    value = float(np.median(above) / np.median(below))
    margin, margin_999 = (
        math.exp(max(error * student_t(tail, freedom) for error, freedom in errors)) for tail in (_TAIL_95, _TAIL_999)
    )
    return Interval(value, value / margin, value * margin, value / margin_999)


def quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(np.array(values, np.float64), share))


def student_t(tail: float, freedom: int) -> float:
    """The value that Student's t is above with a chance of `tail`.

    Raises: ValueError for a tail that is not above 0 and at most 0.5, or no degree of freedom.
    """
    if not 0 < tail <= 0.5 or freedom < 1:
        raise ValueError(f"tail must be above 0 and at most 0.5, freedom at least 1; got {tail}, {freedom}")
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - _within(middle, freedom)) / 2 > tail else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """The chance of Student's t to be between -t and t, where t = tan(angle) sqrt(freedom).

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    is_even = freedom % 2 == 0
    term = 1.0 if is_even else math.cos(angle)
    total = 0.0 if freedom == 1 else term
    for step in range(2 if is_even else 3, freedom, 2):
        term *= math.cos(angle) ** 2 * (step - 1) / step
        total += term
    return math.sin(angle) * total if is_even else 2 / math.pi * (angle + math.sin(angle) * total)


def _error_of_parts(above: NDArray[np.float64], below: NDArray[np.float64], parts: Sequence[int]) -> float:
    ends = np.cumsum(parts)[:-1]
    ratios = [
        np.log(np.median(one) / np.median(other))
        for one, other in zip(np.split(above, ends), np.split(below, ends), strict=True)
    ]
    return math.sqrt(math.pi / 2) * float(np.std(ratios, ddof=1)) / math.sqrt(len(parts))


def _table(rounds: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    if len(rounds) < ROUNDS_MIN:
        raise ValueError(f"a ratio needs at least {ROUNDS_MIN} rounds, got {len(rounds)}")
    if len({len(one) for one in rounds}) != 1 or not rounds[0]:
        raise ValueError("each round needs equally many values of a side, and at least one")
    table = np.array(rounds, np.float64)
    if not (np.isfinite(table).all() and (table > 0).all()):
        raise ValueError("each value must be a number above zero")
    return table


def _medians(values: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    medians: NDArray[np.float64] = np.median(values[chosen].reshape(len(chosen), -1), axis=1)
    return medians
