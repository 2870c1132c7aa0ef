"""Which candidates are tried, and which of them is good enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.optimization import (
    BASELINE,
    Comparison,
    Level,
    Objective,
    OptimizationOptions,
    Outcome,
    Serving,
)
from control_plane.domain.optimization_records import Tried
from control_plane.domain.statistics import Interval, Rounds
from control_plane.ports import CandidatePlan, ConverterCatalog, LevelPlan
from control_plane.services.evidence import Final
from control_plane.services.verdicts import (
    best_of,
    deserves_a_final,
    finalists,
    floor,
    planned,
    stands,
    winner,
)

SERVING = Serving(0.01, 0.012, 100.0, 8, 1000, 500)
ONCE = Interval(1.0, 0.98, 1.02, 0.97)


def candidate(name: str, *takes: str) -> CandidatePlan:
    return CandidatePlan(name, takes or ("onnx",), "baseline", (), {}, None)


CATALOG = ConverterCatalog(
    (),
    (
        LevelPlan("basic", "", 0.9999, 1, (candidate("a"),), {}),
        LevelPlan("advanced", "", None, 3, (candidate("b", "text_encoder"), candidate("c")), {}),
        LevelPlan("expert", "", 0.99, 8, (candidate("d"),), {}),
    ),
)


def compared(speedup: float = 1.0, throughput: float = 1.0, pss: int = 500, doubt: float = 0.01) -> Comparison:
    def interval(value: float) -> Interval:
        return Interval(value, value - doubt, value + doubt, value - 2 * doubt)

    rounds = Rounds(((0.01,),), ((0.01 / speedup,),))
    return Comparison(SERVING, replace(SERVING, pss_bytes=pss), rounds, rounds, interval(speedup), interval(throughput))


def tried(name: str, comparison: Comparison | None, outcome: Outcome = Outcome.APPLIED) -> Tried:
    return Tried(name, "basic", outcome, comparison=comparison)


FIRST = tried(BASELINE, compared(1.05))  # what noise makes of a model beside itself


def test_a_level_tries_what_those_before_it_try_from_the_lowest_on() -> None:
    names = [one.candidate.name for one in planned(CATALOG, OptimizationOptions(Level.EXPERT), "onnx")]
    assert names == ["a", "c", "d"]


def test_a_level_tries_nothing_of_those_above_it() -> None:
    assert [one.level for one in planned(CATALOG, OptimizationOptions(Level.ADVANCED), "onnx")] == ["basic", "advanced"]


def test_only_the_recipes_that_were_asked_for_are_tried() -> None:
    options = OptimizationOptions(Level.EXPERT, recipes=("d",))
    assert [one.candidate.name for one in planned(CATALOG, options, "onnx")] == ["d"]


def test_a_recipe_of_a_higher_level_or_another_kind_is_refused_with_those_that_there_are() -> None:
    for unknown in ("d", "b"):
        with pytest.raises(InvalidRequest, match="it has: a, c"):
            planned(CATALOG, OptimizationOptions(Level.ADVANCED, recipes=(unknown,)), "onnx")


def test_the_floor_is_the_highest_levels_own_or_that_of_the_one_before() -> None:
    floors = [floor(CATALOG, OptimizationOptions(level)) for level in (Level.BASIC, Level.ADVANCED, Level.EXPERT)]
    assert floors == [0.9999, 0.9999, 0.99]


def test_a_callers_own_floor_wins() -> None:
    assert floor(CATALOG, OptimizationOptions(Level.EXPERT, min_accuracy=0.5)) == 0.5


def test_the_best_is_the_baseline_where_nothing_is_better() -> None:
    slower = tried("slower", compared(0.9))
    assert best_of([FIRST, slower], Objective.LATENCY) is FIRST


@pytest.mark.parametrize(
    ("objective", "best"), [(Objective.LATENCY, "fast"), (Objective.THROUGHPUT, "wide"), (Objective.MEMORY, "small")]
)
def test_the_best_is_so_by_the_objective(objective: Objective, best: str) -> None:
    all_tried = [
        FIRST,
        tried("fast", compared(speedup=2.0)),
        tried("wide", compared(throughput=2.0)),
        tried("small", compared(pss=250)),
    ]
    assert best_of(all_tried, objective).name == best
    assert [one.name for one in finalists(all_tried, objective)] == [best]


def test_what_was_rejected_or_skipped_is_never_best() -> None:
    wrong = tried("wrong", compared(9.0), Outcome.REJECTED)
    missing = tried("missing", None, Outcome.SKIPPED)
    assert best_of([FIRST, wrong, missing], Objective.LATENCY) is FIRST
    assert finalists([FIRST, wrong, missing], Objective.LATENCY) == []


def test_the_best_three_are_finalists_best_first() -> None:
    all_tried = [FIRST, *(tried(str(speedup), compared(speedup)) for speedup in (1.1, 1.4, 1.2, 1.3))]
    assert [one.name for one in finalists(all_tried, Objective.LATENCY)] == ["1.4", "1.3", "1.2"]


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT])
def test_a_finalist_stands_where_the_lower_end_of_its_interval_is_above_the_margin(objective: Objective) -> None:
    assert stands(compared(1.1, 1.1, doubt=0.01), objective)
    assert not stands(compared(1.1, 1.1, doubt=0.05), objective)


def test_what_is_like_the_baseline_never_stands() -> None:
    assert not any(stands(compared(), objective) for objective in Objective)


def test_a_lucky_figure_is_not_better_than_a_sure_one() -> None:
    lucky, sure = tried("lucky", compared(3.0, doubt=1.9)), tried("sure", compared(2.0, doubt=0.1))
    assert best_of([FIRST, lucky, sure], Objective.LATENCY) is sure


def test_what_seems_better_but_not_for_certain_is_a_finalist_after_those_that_are() -> None:
    sure, vague, vaguer = (
        tried("sure", compared(1.2)),
        tried("vague", compared(1.3, doubt=0.4)),
        tried("vaguer", compared(1.1, doubt=0.2)),
    )
    same, worse = tried("same", compared(1.01, doubt=0.2)), tried("worse", compared(0.9, doubt=0.2))
    assert finalists([FIRST, worse, vaguer, same, vague], Objective.LATENCY) == [vague, vaguer]
    assert finalists([FIRST, vaguer, vague, sure, same], Objective.LATENCY) == [sure, vague, vaguer]


def test_the_winner_is_the_best_of_those_that_stand_by_its_lower_end() -> None:
    finals = [
        Final("fallen", compared(3.0), stands=False),
        Final("sure", compared(1.5, doubt=0.1), stands=True),
        Final("vague", compared(1.6, doubt=0.3), stands=True),
    ]
    assert winner(finals, Objective.LATENCY) is finals[1]
    assert winner(finals[:1], Objective.LATENCY) is None


def deserves(found: Comparison, finals: list[Final], *, is_late: bool = False) -> bool:
    return deserves_a_final(tried("it", found), finals, Objective.LATENCY, is_late=is_late)


def test_after_one_that_stands_only_what_may_be_better_deserves_a_final() -> None:
    standing = [Final("sure", compared(1.5, doubt=0.1), stands=True)]
    assert deserves(compared(1.3, doubt=0.2), standing)
    assert not deserves(compared(1.2, doubt=0.1), standing)
    assert not deserves(compared(1.3, doubt=0.2), standing, is_late=True)
    assert deserves(compared(1.6, doubt=0.1), standing, is_late=True)


def test_when_the_time_is_over_only_the_first_deserves_a_final_without_being_better_for_certain() -> None:
    fallen = [Final("fallen", compared(1.0), stands=False)]
    certain, vague = compared(1.2, doubt=0.1), compared(1.2, doubt=0.3)
    assert deserves(vague, [], is_late=True)
    assert not deserves(vague, fallen, is_late=True)
    assert deserves(certain, fallen, is_late=True)
    assert deserves(vague, fallen)
