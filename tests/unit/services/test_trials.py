"""What becomes of each candidate of an optimization, by the whole workflow on doubles, in virtual time."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import DomainError, EngineFailed, InvalidRequest, TimedOut, Unsupported
from control_plane.domain.jobs import Job, JobState
from control_plane.domain.models import LoadOptions
from control_plane.domain.optimization import Level, Objective
from tests.doubles.optimizing import Place, candidate, in_no_time, level, recipes, result

FASTEST = 0.002


def optimized(place: Place, name: Level = Level.BASIC, **options: object) -> Job:
    async def one() -> Job:
        return await (await place.open()).optimized(name, **options)

    return in_no_time(one())


def test_a_destructive_candidate_is_rejected_with_its_accuracy_although_it_is_the_fastest() -> None:
    place = Place(level("basic", candidate("fast"), candidate("destructive")), fast=0.01, destructive=FASTEST)
    place.converter.accuracies["destructive"] = 0.4321
    job = optimized(place)
    assert recipes(job)["destructive"] == ("rejected", "accuracy: mean_cosine is 0.4321, below 0.99")
    assert result(job)["recipes"][2]["metrics"] == {"accuracy": 0.4321}
    assert result(job)["chosen_recipe"] == "fast"
    assert place.staged("destructive") == []


@pytest.mark.parametrize(("floor", "chosen"), [(0.9, "coarse"), (0.95, "baseline")])
def test_the_callers_floor_counts_and_not_the_levels(floor: float, chosen: str) -> None:
    place = Place(level("basic", candidate("coarse")), coarse=0.01)
    place.converter.accuracies["coarse"] = 0.92
    assert result(optimized(place, min_accuracy=floor))["chosen_recipe"] == chosen


def test_a_candidate_that_kills_its_triton_is_rejected_and_the_search_goes_on() -> None:
    place = Place(level("basic", candidate("deadly"), candidate("fast")), deadly=FASTEST, fast=0.01)
    place.machine.killers.add("deadly")
    job = optimized(place)
    assert recipes(job)["deadly"] == ("rejected", "failed: Triton died while 'deadly' was loaded")
    assert result(job)["chosen_recipe"] == "fast"
    assert place.scratches.opened[0].deaths == 1


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (InvalidRequest("there is nothing to quantize"), "skipped", "not_applicable: there is nothing to quantize"),
        (Unsupported("it needs bf16", requires="bf16"), "skipped", "not_supported_here: it needs bf16"),
        (EngineFailed("the conversion broke off"), "rejected", "failed: the conversion broke off"),
        (TimedOut("it took too long"), "rejected", "failed: it took too long"),
    ],
)
def test_a_candidate_that_cannot_be_made_says_why(failure: DomainError, status: str, reason: str) -> None:
    place = Place(level("basic", candidate("odd"), candidate("fast")), fast=0.01)
    place.converter.failures["odd"] = failure
    job = optimized(place)
    assert recipes(job)["odd"] == (status, reason)
    assert result(job)["chosen_recipe"] == "fast"


def test_a_candidate_that_triton_refuses_is_rejected_with_its_reason() -> None:
    place = Place(level("basic", candidate("odd"), candidate("fast")), fast=0.01)
    place.machine.refusals["odd"] = EngineFailed("unknown operator Odd")
    job = optimized(place)
    assert recipes(job)["odd"] == ("rejected", "failed: unknown operator Odd")
    assert result(job)["chosen_recipe"] == "fast"


def test_what_needs_a_gpu_is_skipped_and_never_made() -> None:
    place = Place(level("basic", candidate("engine", reason="requires_gpu: no NVIDIA GPU")))
    job = optimized(place)
    assert recipes(job)["engine"] == ("skipped", "requires_gpu: no NVIDIA GPU")
    assert place.converter.requests == []


def test_a_candidate_of_a_source_that_the_revision_does_not_carry_is_skipped() -> None:
    job = optimized(Place(level("basic", candidate("rebuilt", "source"))))
    status, reason = recipes(job)["rebuilt"]
    assert status == "skipped"
    assert reason is not None
    assert reason.startswith("not_applicable: the revision does not carry the source")


def test_when_the_time_is_over_the_rest_is_skipped() -> None:
    place = Place(level("basic", *(candidate(name) for name in ("first", "second", "third"))), first=0.01, third=0.001)
    place.converter.slow_s = 20.0  # of each conversion and each evaluation
    job = optimized(place, time_budget_s=70)
    assert recipes(job)["first"] == ("applied", None)
    for name in ("second", "third"):
        status, reason = recipes(job)[name]
        assert status == "skipped"
        assert reason is not None
        assert reason.startswith("time_budget: ")
    assert result(job)["chosen_recipe"] == "first"


def test_a_candidate_without_steps_serves_the_best_graph_with_other_settings() -> None:
    more = candidate("one-thread", "best", made=False, threads=1)
    last = candidate("no-arena", "best", made=False, memory_arena=False)
    place = Place(level("basic", candidate("fast")), level("expert", more, last), fast=0.01)
    place.machine.delays |= {"one-thread": 0.008, "no-arena": 0.007}
    job = optimized(place, Level.EXPERT)
    assert result(job)["chosen_recipe"] == "no-arena"
    assert place.staged("no-arena")[0] == LoadOptions(threads=1, memory_arena=False)
    # Equal files answer alike: the baseline and `fast` are compared, and nothing else.
    assert len(place.converter.evaluations) == 2
    publication, files = place.repository.packages[0]
    assert publication.settings == LoadOptions(threads=1, memory_arena=False)
    assert files["1/model.onnx"] == b'1/model.onnx\n{"recipe": "fast", "parameters": {}}'


def test_a_candidate_may_begin_with_the_best_graph_and_its_plan_begins_where_that_did() -> None:
    place = Place(level("basic", candidate("fast"), candidate("faster", "best")), fast=0.01, faster=0.005)
    job = optimized(place)
    assert result(job)["chosen_recipe"] == "faster"
    evidence = place.evidence(job)
    assert [step["recipe"] for step in evidence["candidates"][2]["steps"]] == ["fast", "faster"]
    assert evidence["tools"]["is_reproduced"]  # in one conversion, from the very beginning


@pytest.mark.parametrize(
    ("objective", "chosen"), [(Objective.LATENCY, "fast"), (Objective.THROUGHPUT, "fast"), (Objective.MEMORY, "small")]
)
def test_the_objective_decides_what_is_best(objective: Objective, chosen: str) -> None:
    place = Place(level("basic", candidate("fast"), candidate("small")), fast=0.01, small=0.02)
    place.machine.pss |= {"small": 10_000_000, "fast": 60_000_000}
    job = optimized(place, objective=objective)
    assert result(job)["chosen_recipe"] == chosen
    if objective is Objective.MEMORY:
        assert result(job)["performance_metrics"]["memory_reduction"] == pytest.approx(0.8)


def test_a_finalist_that_was_fast_by_luck_does_not_stand_and_the_next_one_does() -> None:
    place = Place(level("basic", candidate("lucky"), candidate("fast")), fast=0.01)
    place.machine.next_delays["lucky"] = [0.005, 0.02]
    job = optimized(place)
    assert result(job)["chosen_recipe"] == "fast"
    assert result(job)["performance_metrics"]["speedup"] == pytest.approx(2)
    finals = place.evidence(job)["finals"]
    assert [(one["name"], one["stands"]) for one in finals] == [("lucky", False), ("fast", True)]
    assert finals[0]["reason"] == "on fresh samples it is not better than the baseline for certain"
    assert job.state is JobState.COMPLETED


def test_a_finalist_that_dies_when_it_is_measured_again_does_not_stand() -> None:
    place = Place(level("basic", candidate("frail")), frail=0.01)
    in_first = place.repository.stage

    async def stage(*arguments: object) -> object:
        if arguments[1] == "frail" and place.staged("frail"):
            place.scratches.opened[0].killers.add("frail")
        return await in_first(*arguments)  # type: ignore[arg-type]

    place.repository.stage = stage  # type: ignore[assignment, method-assign]
    job = optimized(place)
    assert result(job)["chosen_recipe"] == "baseline"
    assert place.evidence(job)["finals"][0]["reason"] == "failed: Triton died while 'frail' was loaded"
