"""What the searches of a level add to an optimization, by the whole workflow on doubles, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed, Unsupported
from control_plane.domain.jobs import Job, JsonObject
from control_plane.domain.models import LoadOptions
from control_plane.domain.optimization import Level
from control_plane.services.finals import LOADS
from tests.doubles.optimizing import Place, candidate, in_no_time, level, recipes, result

SERVING: JsonObject = {"serving": {"instance_count": [1, 2, 4], "concurrency": [1, 4]}}
CUT_SHORT = "time_budget: the search was cut short; raise time_budget_seconds"
JOINT: JsonObject = {"joint": {"instance_count": [1, 2], "start_rounds": 5, "keep": 0.5}}


def searching(name: Level, search: JsonObject, **delays: float) -> Place:
    place = Place(level("basic", candidate("fast")), level(name.value, floor=None, search=search), fast=0.01)
    place.machine.delays |= {directory.replace("_", "-"): delay_s for directory, delay_s in delays.items()}
    return place


def optimized(place: Place, name: Level, **options: Any) -> Job:
    async def one() -> Job:
        return await (await place.open()).optimized(name, **options)

    return in_no_time(one())


def test_the_serving_search_finds_settings_of_the_best_and_they_stand_as_a_candidate() -> None:
    place = searching(Level.ULTIMATE, SERVING, serving_search=0.005)
    job = optimized(place, Level.ULTIMATE)
    told = result(job)
    assert told["chosen_recipe"] == "serving-search"
    assert recipes(job)["serving-search"] == ("applied", None)
    publication, files = place.repository.packages[0]
    assert publication.settings == LoadOptions(instance_count=2)
    assert b'"fast"' in files["1/model.onnx"]
    trials = told["serving_search"]
    assert [trial["settings"] for trial in trials] == [{}, *({"instance_count": count} for count in (1, 2, 4))]
    assert [profile["concurrency"] for profile in trials[0]["profiles"]] == [1, 4]
    assert trials[2]["profiles"][0]["requests_per_s"] == 200


def test_settings_that_load_likes_but_the_comparison_does_not_are_not_chosen() -> None:
    job = optimized(searching(Level.ULTIMATE, SERVING, serving_search=0.03), Level.ULTIMATE)
    assert recipes(job)["serving-search"] == ("applied", None)
    assert result(job)["chosen_recipe"] == "fast"


def test_where_no_settings_keep_the_slo_the_search_is_rejected_and_shows_what_it_tried() -> None:
    job = optimized(searching(Level.ULTIMATE, SERVING), Level.ULTIMATE, slo_p99_ms=5)
    assert recipes(job)["serving-search"] == ("rejected", "no settings could be measured that keep the SLO")
    assert len(result(job)["serving_search"]) == 4
    assert result(job)["chosen_recipe"] == "fast"


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (Unsupported("there is no perf_analyzer", requires="x"), "skipped", "not_supported_here: there is no perf_ana"),
        (EngineFailed("it broke"), "rejected", "nothing could be measured"),
    ],
)
def test_a_profiler_that_fails_is_a_reason_and_the_rest_goes_on(failure: Exception, status: str, reason: str) -> None:
    def fail(*_: object) -> None:
        raise failure

    place = searching(Level.ULTIMATE, SERVING)
    place.profiler.fail = fail
    job = optimized(place, Level.ULTIMATE)
    told, why = recipes(job)["serving-search"]
    assert told == status
    assert why is not None
    assert why.startswith(reason)
    assert result(job)["chosen_recipe"] == "fast"


def test_a_search_whose_time_is_over_is_skipped() -> None:
    place = searching(Level.ULTIMATE, SERVING)
    place.converter.slow_s = 40.0
    job = optimized(place, Level.ULTIMATE, time_budget_s=130)
    assert recipes(job)["fast"][0] == "applied"
    assert recipes(job)["serving-search"] == ("skipped", "time_budget: the time was over before its turn")


def test_a_search_that_the_time_cuts_short_says_so() -> None:
    place = searching(Level.ULTIMATE, SERVING)
    place.profiler.slow_s = 30.0
    job = optimized(place, Level.ULTIMATE, time_budget_s=100)
    assert recipes(job)["serving-search"] == ("applied", CUT_SHORT)
    assert len(result(job)["serving_search"]) == 2
    place = searching(Level.ABSOLUTE, JOINT)
    place.machine.delays |= {"fast": 1.0, "fast-1": 1.0, "fast-2": 1.0, "baseline": 2.0}
    job = optimized(place, Level.ABSOLUTE, time_budget_s=400)
    assert recipes(job)["fast-1"] == ("applied", CUT_SHORT)


def test_a_joint_search_whose_time_is_over_is_skipped() -> None:
    place = searching(Level.ABSOLUTE, JOINT)
    place.converter.slow_s = 40.0
    job = optimized(place, Level.ABSOLUTE, time_budget_s=130)
    assert recipes(job)["joint-search"] == ("skipped", "time_budget: the time was over before its turn")


def test_a_search_takes_no_time_from_the_candidates_of_lower_levels() -> None:
    place = searching(Level.ULTIMATE, SERVING)
    place.converter.slow_s = 40.0  # the sample and the baseline: most of the time
    job = optimized(place, Level.ULTIMATE, time_budget_s=110)
    assert recipes(job)["fast"] == ("applied", None)
    assert recipes(job)["serving-search"] == ("skipped", "time_budget: the time was over before its turn")


def test_only_the_search_that_was_asked_for_runs() -> None:
    place = searching(Level.ABSOLUTE, {**SERVING, **JOINT})
    job = optimized(place, Level.ABSOLUTE, recipes=("serving-search",))
    assert list(recipes(job)) == ["baseline", "serving-search"]
    assert "pareto" not in result(job)


def test_the_joint_search_shows_the_front_and_its_best_combination_can_win() -> None:
    place = searching(
        Level.ABSOLUTE, JOINT, **{"fast_2": 0.005, "fast_1": 0.01, "baseline_1": 0.02, "baseline_2": 0.02}
    )
    job = optimized(place, Level.ABSOLUTE)
    told = result(job)
    assert told["chosen_recipe"] == "fast-2"
    assert told["joint_search"]["combinations"] == 4
    assert [rung["candidates"] for rung in told["joint_search"]["rungs"]] == [4, 2, 1]
    assert "fast-2" in {point["name"] for point in told["pareto"]}
    assert {"latency_p99_s", "throughput", "memory_bytes", "accuracy"} < told["pareto"][0].keys()
    assert place.repository.packages[0][0].settings == LoadOptions(instance_count=2)


def test_a_proof_measures_the_winner_again_as_often_as_the_level_says() -> None:
    place = searching(Level.PERFECT, {"proof": {"repeats": 3}})
    job = optimized(place, Level.PERFECT)
    assert result(job)["chosen_recipe"] == "fast"
    assert place.scratches.opened[0].loads.count("fast") == 1 + 3 * LOADS
    once = optimized(searching(Level.PERFECT, {"proof": {"repeats": 1}}), Level.PERFECT)
    samples = [result(one)["performance_metrics"]["samples"] for one in (job, once)]
    assert samples[0] == 3 * samples[1]


def test_the_best_graphs_go_into_the_joint_search_by_the_best_that_each_has_shown() -> None:
    slower = [candidate(f"graph-{number}") for number in range(4)]
    place = Place(
        level("basic", *slower, candidate("settings", made=False, threads=1)),
        level("absolute", floor=None, search=JOINT),
        settings=0.008,
        settings_2=0.002,
        **{one.name.replace("-", "_"): 0.01 for one in slower},
    )
    told = result(optimized(place, Level.ABSOLUTE))  # the baseline's own graph: the slowest, and with settings the best
    assert told["joint_search"]["combinations"] == 8
    assert told["chosen_recipe"] == "settings-2"
