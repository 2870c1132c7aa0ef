"""Fine histograms: cheap to count into, and close enough to the durations themselves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.histogram import LAST_BUCKET, RELATIVE_ERROR, bucket, middle_s, percentile_s

DURATIONS = st.floats(min_value=2e-6, max_value=14_400, allow_nan=False)


def nearest_rank(durations: list[float], percent: int) -> float:
    """The smallest duration that at least `percent` of all are not above."""
    return next(
        one for one in sorted(durations) if sum(other <= one for other in durations) * 100 >= percent * len(durations)
    )


@given(DURATIONS)
def test_the_middle_of_its_bucket_is_within_the_promised_error_of_a_duration(took_s: float) -> None:
    assert middle_s(bucket(took_s)) == pytest.approx(took_s, rel=RELATIVE_ERROR)
    assert RELATIVE_ERROR <= 0.05


@given(DURATIONS, DURATIONS)
def test_a_longer_duration_is_never_in_an_earlier_bucket(one_s: float, other_s: float) -> None:
    shorter, longer = sorted((one_s, other_s))
    assert bucket(shorter) <= bucket(longer)


def test_every_bucket_holds_its_own_middle() -> None:
    assert [bucket(middle_s(index)) for index in range(LAST_BUCKET + 1)] == list(range(LAST_BUCKET + 1))


def test_what_is_too_short_or_too_long_to_measure_goes_to_the_ends() -> None:
    assert [bucket(took_s) for took_s in (0.0, 1e-9, -1e-3, 1e9)] == [0, 0, 0, LAST_BUCKET]


@given(st.lists(st.lists(DURATIONS, max_size=50), min_size=1, max_size=5), st.sampled_from([1, 50, 90, 95, 99, 100]))
def test_a_percentile_of_merged_histograms_is_within_5_percent_of_the_exact_one(
    parts: list[list[float]], percent: int
) -> None:
    merged: Counter[int] = Counter()
    for part in parts:
        merged.update(Counter(map(bucket, part)))
    everything = [took_s for part in parts for took_s in part]

    found = percentile_s(merged, percent)

    if everything:
        assert found == pytest.approx(nearest_rank(everything, percent), rel=0.05)
    else:
        assert found is None
