"""The Pareto front, over made-up points."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.pareto import Point, pareto_front

numbers = st.integers(0, 4)
points = st.lists(
    st.builds(Point, st.just("p"), numbers.map(float), numbers.map(float), st.none() | numbers, numbers.map(float)),
    max_size=12,
)


def test_only_what_is_beaten_in_everything_falls_out() -> None:
    fast = Point("fast", 0.001, 100, 10, 0.99)
    much = Point("much", 0.010, 900, 50, 0.99)
    small = Point("small", 0.020, 50, 1, 0.90)
    beaten = Point("beaten", 0.011, 800, 50, 0.99)
    assert pareto_front([beaten, fast, much, small]) == (fast, much, small)


def test_equals_stay_together() -> None:
    one, other = Point("one", 1, 1, 1, 1), Point("other", 1, 1, 1, 1)
    assert pareto_front([one, other]) == (one, other)


def test_unknown_memory_is_no_merit() -> None:
    known, unknown = Point("known", 1, 1, 10**12, 1), Point("unknown", 1, 1, None, 1)
    assert pareto_front([unknown, known]) == (known,)
    faster = Point("faster", 0.5, 1, None, 1)
    assert pareto_front([faster, known]) == (faster, known)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="lost has a value that is no number"):
        pareto_front([Point("lost", math.nan, 1, 1, 1)])


def merits(point: Point) -> tuple[float, ...]:
    memory = math.inf if point.memory_bytes is None else point.memory_bytes
    return -point.latency_p99_s, point.throughput, -memory, point.accuracy


@given(points)
def test_everything_else_is_beaten_by_somebody_on_the_front(several: list[Point]) -> None:
    front = pareto_front(several)
    assert bool(front) == bool(several)
    for point in several:
        at_least_as_good = [
            one for one in front if all(ours >= its for ours, its in zip(merits(one), merits(point), strict=True))
        ]
        assert at_least_as_good
        if point in front:
            assert all(merits(one) == merits(point) for one in at_least_as_good)
