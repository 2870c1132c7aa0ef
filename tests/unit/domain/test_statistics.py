"""Ratios of medians: what they are, and how often their intervals are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from control_plane.domain import statistics
from control_plane.domain.statistics import Interval, Rounds, quantile, ratio_of_medians, student_t

FASTER = 1.1  # what the simulated candidate truly is
Table = NDArray[np.float64]


def simulated(random: np.random.Generator, rounds: int, ratio: float) -> Interval:
    """Latencies with a long tail, disturbed round by round, as a busy machine gives them."""
    disturbance = np.exp(random.normal(0, 0.05, (rounds, 1)))
    over, under = (_noisy(random, rounds) * disturbance for _ in range(2))
    return ratio_of_medians((over * ratio).tolist(), under.tolist(), seed=int(random.integers(2**31)))


def _noisy(random: np.random.Generator, rounds: int) -> Table:
    spikes = np.where(random.random((rounds, 3)) < 0.05, 3.0, 1.0)
    return 0.01 * (1 + random.exponential(0.05, (rounds, 3))) * spikes * np.exp(random.normal(0, 0.02, (rounds, 1)))


def test_twice_as_long_is_a_ratio_of_two() -> None:
    under = [(0.010, 0.011, 0.012), (0.011, 0.010, 0.012), (0.012, 0.011, 0.010)]
    ratio = ratio_of_medians([[2 * value for value in one] for one in under], under)
    assert ratio.value == pytest.approx(2)
    assert ratio.low_999 <= ratio.low <= ratio.value <= ratio.high


def test_the_median_of_all_rounds_is_taken_so_one_slow_request_changes_nothing() -> None:
    calm = [(0.010, 0.011, 0.012)] * 6
    ratio = ratio_of_medians([*calm[1:], (0.010, 0.011, 9.0)], calm)
    assert ratio.value == pytest.approx(1)


def test_what_disturbs_both_sides_of_a_round_leaves_the_ratio_sure() -> None:
    under = [(0.01 * factor,) for factor in (1.0, 1.3, 0.8, 1.1, 2.0, 0.9, 1.2)]
    ratio = ratio_of_medians([(1.5 * value,) for (value,) in under], under)
    assert (ratio.low, ratio.high) == (pytest.approx(1.5), pytest.approx(1.5))


def test_with_the_sides_swapped_the_ratio_and_its_interval_are_turned_over() -> None:
    random = np.random.default_rng(1)
    one, other = (_noisy(random, 12).tolist() for _ in range(2))
    there, back = ratio_of_medians(one, other), ratio_of_medians(other, one)
    assert (back.value, back.low, back.high) == (
        pytest.approx(1 / there.value),
        pytest.approx(1 / there.high),
        pytest.approx(1 / there.low),
    )


def test_parts_that_differ_widen_the_interval_and_parts_that_do_not_leave_it() -> None:
    under = [(1.0,)] * 12
    unlike = [(1.2,)] * 3 + [(1.5,)] * 4 + [(1.9,)] * 5
    plain, grouped = ratio_of_medians(unlike, under), ratio_of_medians(unlike, under, parts=(3, 4, 5))
    assert grouped.value == plain.value == 1.5
    error = np.sqrt(np.pi / 2) * np.log([1.2, 1.5, 1.9]).std(ddof=1) / np.sqrt(3)
    assert grouped.low == pytest.approx(1.5 / np.exp(error * student_t(0.025, 2)))
    assert grouped.high == pytest.approx(1.5 * np.exp(error * student_t(0.025, 2)))
    assert grouped.low_999 == pytest.approx(1.5 / np.exp(error * student_t(0.0005, 2)))
    alike = [(1.2,), (1.5,), (1.9,)] * 4
    for parts in ((3, 3, 3, 3), (3, 9), (12,), ()):
        assert ratio_of_medians(alike, under, parts=parts) == ratio_of_medians(alike, under)


@pytest.mark.parametrize(("loads", "claims_max"), [(5, 2), (10, 2)])
def test_a_model_beside_itself_whose_loads_differ_is_seldom_better_for_certain(loads: int, claims_max: int) -> None:
    """Of 400, one in two thousand would be 0.2; without the parts it is about ten."""
    random, claims = np.random.default_rng(7), 0
    for _ in range(400):
        placed = np.repeat(np.exp(random.normal(0, 0.09, (loads, 1))), 5, axis=0)
        over, under = _noisy(random, 5 * loads) * placed, _noisy(random, 5 * loads)
        ratio = ratio_of_medians(over.tolist(), under.tolist(), int(random.integers(2**31)), [5] * loads)
        claims += ratio.low_999 > 1.02
    assert claims <= claims_max


def test_the_same_values_give_the_same_interval() -> None:
    over, under = (_noisy(np.random.default_rng(seed), 8).tolist() for seed in (1, 2))
    assert ratio_of_medians(over, under) == ratio_of_medians(over, under)


@pytest.mark.parametrize("truth", [1.0, FASTER])
@pytest.mark.parametrize("rounds", [8, 30])
def test_the_interval_of_95_percent_holds_the_truth_at_least_nearly_so_often(
    rounds: int, truth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 200)  # enough for a standard error, and quick
    random = np.random.default_rng(rounds)
    found = [simulated(random, rounds, truth) for _ in range(400)]
    assert sum(one.low <= truth <= one.high for one in found) / len(found) >= 0.93


def test_thirty_rounds_tell_ten_percent_from_nothing() -> None:
    """An interval that is never wrong because it holds everything would be of no use."""
    random = np.random.default_rng(3)
    found = [simulated(random, 30, FASTER) for _ in range(50)]
    assert sum(one.low_999 > 1.02 for one in found) / len(found) > 0.9


@pytest.mark.parametrize("rounds", [5, 8])
def test_few_rounds_of_the_same_thing_never_look_faster_at_99_9_percent(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quantiles of a bootstrap over 8 rounds are above 1 in nearly one of a hundred of these."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    random = np.random.default_rng(rounds)
    found = [simulated(random, rounds, ratio=1.0) for _ in range(400)]
    assert [one for one in found if one.low_999 > 1] == []
    assert all(one.low_999 < one.low for one in found)


@pytest.mark.parametrize(
    ("over", "under", "reason"),
    [
        ([], [], "at least 2 rounds, got 0"),
        ([(1.0,)], [(1.0,)], "at least 2 rounds, got 1"),
        ([(1.0,)] * 2, [(1.0,)] * 3, "values of both sides"),
        ([(1.0,), (1.0, 2.0)], [(1.0,)] * 2, "equally many values"),
        ([(), ()], [(), ()], "at least one"),
        ([(1.0,)] * 2, [(1.0,), (0.0,)], "above zero"),
        ([(1.0,), (float("nan"),)], [(1.0,)] * 2, "above zero"),
        ([(1.0,), (float("inf"),)], [(1.0,)] * 2, "above zero"),
    ],
)
def test_what_is_no_pairs_of_rounds_is_refused(over: list[object], under: list[object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ratio_of_medians(over, under)  # type: ignore[arg-type]


@pytest.mark.parametrize(  # from the tables of Student's t
    ("tail", "freedom", "expected"),
    [
        (0.025, 1, 12.706205), (0.025, 2, 4.302653), (0.025, 7, 2.364624), (0.025, 30, 2.042272),
        (0.0005, 1, 636.619249), (0.0005, 4, 8.610302), (0.0005, 7, 5.407883), (0.0005, 29, 3.659405), (0.5, 9, 0.0),
    ],
)  # fmt: skip
def test_student_t_is_that_of_the_tables(tail: float, freedom: int, expected: float) -> None:
    assert student_t(tail, freedom) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("tail", "freedom"), [(0.0, 3), (0.6, 3), (0.025, 0)])
def test_student_t_of_nothing_is_refused(tail: float, freedom: int) -> None:
    with pytest.raises(ValueError, match="tail must be"):
        student_t(tail, freedom)


def test_rounds_know_how_many_samples_each_side_has() -> None:
    assert Rounds(((1.0, 2.0), (1.0, 2.0)), ((1.0, 2.0), (3.0, 4.0))).samples == 4


def test_a_quantile_lies_between_the_values_around_it() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([3.0], 0.95) == 3.0
