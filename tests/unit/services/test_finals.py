"""How finalists are measured again, by the whole workflow on doubles, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.jobs import Job
from control_plane.domain.optimization import Level
from tests.doubles.optimizing import Place, candidate, in_no_time, level, result


def test_both_sides_of_a_final_are_loaded_anew_each_time() -> None:
    place = Place(
        level("basic", candidate("fast"), candidate("slow")),
        level("perfect", floor=None, search={"proof": {"repeats": 2}}),
        fast=0.01,
    )

    async def one() -> list[str]:
        await (await place.open()).optimized(Level.PERFECT)
        return place.scratches.opened[0].loads

    finals = ["baseline", "fast"] * 2
    assert in_no_time(one()) == ["baseline", "fast", "slow", *finals]


def lucky_and_fast(lucky_again_s: float) -> Place:
    """`lucky` seems to be the best in the search, and takes `lucky_again_s` when it is measured again."""
    place = Place(level("basic", candidate("lucky"), candidate("fast")), fast=0.01)
    place.machine.next_delays["lucky"] = [0.005, lucky_again_s]
    return place


def finals(place: Place, **options: Any) -> tuple[str, list[tuple[str, bool]]]:
    """The chosen candidate; and who was measured again, and stands."""

    async def one() -> Job:
        return await (await place.open()).optimized(Level.BASIC, **options)

    job = in_no_time(one())
    return result(job)["chosen_recipe"], [(one["name"], one["stands"]) for one in place.evidence(job)["finals"]]


def test_the_best_on_fresh_samples_wins_and_not_the_best_of_the_search() -> None:
    assert finals(lucky_and_fast(0.012)) == ("fast", [("lucky", True), ("fast", True)])


def test_what_cannot_be_better_than_what_stands_is_not_measured_again() -> None:
    assert finals(lucky_and_fast(0.009)) == ("lucky", [("lucky", True)])


@pytest.mark.parametrize(
    ("lucky_again_s", "seen"),
    [(0.012, ("lucky", [("lucky", True)])), (0.02, ("fast", [("lucky", False), ("fast", True)]))],
)
def test_when_the_time_is_over_it_ends_with_the_first_that_stands(
    lucky_again_s: float, seen: tuple[str, list[tuple[str, bool]]]
) -> None:
    """In virtual time both candidates are measured after 13 s, and the first final after 30."""
    assert finals(lucky_and_fast(lucky_again_s), time_budget_s=20) == seen
