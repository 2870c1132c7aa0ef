"""The numbers that checks record: by their formulas, under names that the documentation explains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.checks.measures import Measure, max_difference, mean_cosine, same_choice

DOCUMENT = Path(__file__).parents[2] / "docs" / "importing.md"


@pytest.mark.parametrize("measure", Measure)
def test_every_measure_is_explained_to_users(measure: Measure) -> None:
    assert f"| `{measure}` |" in DOCUMENT.read_text("utf-8")


def test_a_difference_is_relative_to_what_is_large_and_absolute_to_what_is_small() -> None:
    assert max_difference(np.array([10.0, 1.0]), np.array([10.0, 2.0])) == pytest.approx(0.1)
    assert max_difference(np.array([0.1]), np.array([0.2])) == pytest.approx(0.1)


def test_only_infinity_that_both_give_is_no_difference() -> None:
    assert max_difference(np.array([np.inf, 1.0]), np.array([np.inf, 1.0])) == 0.0
    assert not max_difference(np.array([np.inf]), np.array([1.0])) <= 1e-3
    assert not max_difference(np.array([np.inf]), np.array([-np.inf])) <= 1e-3
    assert not max_difference(np.array([1.0]), np.array([np.nan])) <= 1e-3
    assert not max_difference(np.array([np.nan]), np.array([np.nan])) <= 1e-3


def test_the_choice_is_the_largest_value_or_the_sign_of_a_single_one() -> None:
    before, after = np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[1.0, 9.0], [0.0, 3.0]])
    assert same_choice(before, after).tolist() == [True, False]
    assert same_choice(before[:, :1] - 2, after[:, :1] - 2).tolist() == [True, False]


def test_the_cosine_of_0_4_is_clipped_after_its_mean() -> None:
    east, west = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    assert mean_cosine(np.concatenate([east, east]), np.concatenate([east, west])) == 0.0
    assert mean_cosine(east, west) == 0.0
