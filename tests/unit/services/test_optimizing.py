"""An optimization from its submission to its end, on doubles, in virtual time; see test_trials.py for candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest, Unavailable
from control_plane.domain.jobs import Job, JobState
from control_plane.domain.models import Artifact, Description, LoadOptions, ModelState, Revision
from control_plane.domain.optimization import Deploy, Level
from tests.doubles.optimizing import ADMIN, FULL, Place, Server, candidate, in_no_time, level, recipes, result
from tests.doubles.repository import tensor_revision

HALF_S = 0.01  # of what the baseline takes
CARRYING = (*FULL.artifacts, Artifact("source/model.pt", 1000, "d" * 64), Artifact("evaluation.jsonl", 10, "e" * 64))
QUANTIZED = replace(FULL, artifacts=CARRYING, description=Description(dtype="int8", parameters=12))


def optimized(place: Place, name: Level = Level.BASIC, **options: Any) -> Job:
    async def one() -> Job:
        return await (await place.open()).optimized(name, **options)

    return in_no_time(one())


def three(revision: Revision = FULL, second: float = HALF_S) -> Place:
    """Candidates of the names first, second and third, of which the second is fast."""
    return Place(level("basic", *map(candidate, ("first", "second", "third"))), revision=revision, second=second)


def test_a_faster_candidate_is_measured_again_proven_and_published_with_its_evidence() -> None:
    place = Place(level("basic", candidate("fast", threads=1), candidate("slow")), fast=HALF_S, slow=0.05)
    job = optimized(place)

    told = result(job)
    assert (job.state, job.progress) == (JobState.COMPLETED, 100.0)
    assert (told["chosen_recipe"], told["optimized_revision"], told["optimized_model_id"]) == ("fast", 2, "mlp:2")
    metrics = told["performance_metrics"]
    assert metrics["speedup"] == pytest.approx(2)
    assert metrics["speedup_ci_low"] <= metrics["speedup"] <= metrics["speedup_ci_high"]
    assert metrics["throughput_ratio"] == pytest.approx(2)
    assert (metrics["accuracy_preservation"], metrics["n_eval"]) == (1.0, 200)
    assert told["optimized"]["latency_p50_s"] == pytest.approx(HALF_S)
    assert recipes(job) == {"baseline": ("applied", None), "fast": ("applied", None), "slow": ("applied", None)}

    (publication, files), evidence = place.repository.packages[0], place.evidence(job)
    assert set(files) == {"1/model.onnx", "source/model.onnx", "evidence.json", "reproduce.sh"}
    assert files["evidence.json"] == place.workspaces.evidence_file(job.id).read_bytes()
    assert publication.settings == LoadOptions(threads=1)
    assert publication.source_label == "mlp:1"
    assert publication.conversion is not None
    assert publication.conversion["optimization"] == job.id

    (final,) = evidence["finals"]
    assert (final["name"], final["stands"], evidence["tools"]["is_reproduced"]) == ("fast", True, True)
    searched = next(one for one in evidence["candidates"] if one["name"] == "fast")["comparison"]
    assert len(final["comparison"]["latency"]["candidate"]) > len(searched["latency"]["candidate"])
    assert sum(map(len, final["comparison"]["latency"]["candidate"])) == metrics["samples"] >= 20
    assert evidence["options"]["min_accuracy"] == 0.99
    assert evidence["result"].items() <= told.items()


def test_where_nothing_is_better_the_baseline_is_chosen_and_nothing_is_published() -> None:
    place = three(second=0.0199)
    job = optimized(place)
    told = result(job)
    assert job.state is JobState.COMPLETED
    assert (told["chosen_recipe"], told["optimized_revision"], told["optimized"]) == ("baseline", None, None)
    assert (told["performance_metrics"]["speedup"], told["artifacts"]) == (1.0, [])
    assert place.repository.packages == []
    assert place.evidence(job)["finals"] == []  # by half a percent: too little to be measured again


def test_a_quantized_revision_is_compared_with_its_source_in_full_precision() -> None:
    place = three(QUANTIZED)
    job = optimized(place)
    assert place.converter.requests[0]["precision"] == "fp32"
    # A TorchScript file does not say what it takes.
    taken = [{"name": "input", "datatype": "FP32", "shape": (-1, 4)}]
    assert [request["inputs"] for request in place.converter.requests] == [taken] * len(place.converter.requests)
    evidence = place.evidence(job)
    assert [step["recipe"] for step in evidence["candidates"][0]["steps"]] == ["torch_to_onnx"]
    _, files = place.repository.packages[0]
    assert files["source/model.pt"] == b"source/model.pt"
    assert "evaluation.jsonl" in files
    asked = {str(request["data"]) for request in place.converter.evaluations}
    assert {one.rpartition("/")[2] for one in asked} == {"evaluation.jsonl"}


def test_a_revision_in_full_precision_is_published_with_the_graph_that_its_script_begins_with() -> None:
    place = three(replace(FULL, artifacts=CARRYING))
    optimized(place)
    _, files = place.repository.packages[0]
    assert files["source/model.onnx"] == b"1/model.onnx"
    assert "source/model.pt" not in files


def test_what_no_level_takes_is_refused_when_it_is_asked_for() -> None:
    async def asked() -> None:
        with pytest.raises(InvalidRequest, match="a python model is not optimized"):
            await (await place.open()).submit()

    place = Place(level("basic"), revision=tensor_revision("mlp", backend="python"))
    in_no_time(asked())


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda place: place.machine.refusals.update(baseline=EngineFailed("no such operator")), "no such operator"),
        (lambda place: place.machine.killers.add("baseline"), "Triton died while 'baseline' was loaded"),
        (lambda place: setattr(place.scratches, "refusal", Unavailable("no port is free")), "no port is free"),
        (lambda place: place.converter.failures.update(evaluation=EngineFailed("out of memory")), "out of memory"),
    ],
)
def test_a_baseline_that_cannot_be_measured_fails_the_job_with_the_reason(harm: Any, said: str) -> None:
    place = three()
    harm(place)
    job = optimized(place)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert said in job.failure.message
    assert place.scratches.closed == len(place.scratches.opened)


def test_a_loaded_model_is_optimizing_as_long_as_it_takes_and_serves() -> None:
    async def seen() -> tuple[ModelState, ModelState]:
        place.converter.slow_s = 1.0
        server = await place.open()
        await server.models.load("mlp")
        job = await server.submit()
        await place.until(job, "making first")
        during = server.catalog.resolve("mlp").state
        await server.jobs.wait(job.id)
        return during, server.catalog.resolve("mlp").state

    place = three()
    assert in_no_time(seen()) == (ModelState.OPTIMIZING, ModelState.LOADED)


@pytest.mark.parametrize(
    ("deploy", "loaded", "stable"), [(Deploy.NONE, False, 1), (Deploy.LOAD, True, 1), (Deploy.PROMOTE, True, 2)]
)
def test_the_winner_is_deployed_as_asked(deploy: Deploy, loaded: bool, stable: int) -> None:
    async def deployed() -> tuple[bool, int]:
        server = await place.open()
        await server.optimized(deploy=deploy)
        return server.catalog.status("mlp", 2).state.serves, server.catalog.resolve("mlp").revision.number

    place = three()
    assert in_no_time(deployed()) == (loaded, stable)


def test_two_at_once_run_one_after_the_other_each_with_its_whole_time() -> None:
    async def both() -> list[Job]:
        server = await place.open()
        jobs = [await server.submit(time_budget_s=60) for _ in range(2)]
        return [await server.jobs.wait(job.id) for job in jobs]

    place = three()
    place.converter.slow_s = 5.0
    for job in in_no_time(both()):
        assert {status for status, _ in recipes(job).values()} == {"applied"}
    waiting = [one for one in place.events.recorded if one.payload.get("step") == "waiting for another optimization"]
    assert len(waiting) == 1  # either of the two
    assert place.scratches.together == 1
    assert len(place.scratches.opened) == 2


def test_a_server_that_dies_after_the_second_candidate_leaves_a_job_that_goes_on_there() -> None:
    async def two_lives() -> Job:
        server = await place.open()
        job = await server.submit()
        await place.until(job, "making third")
        await server.durability.close()
        assert (await server.jobs.get(job.id)).state is JobState.RUNNING
        assert place.scratches.closed == 1
        return await (await place.open()).jobs.wait(job.id)

    place = three()
    place.converter.slow_s = 1.0
    job = in_no_time(two_lives())
    assert result(job)["performance_metrics"] == pytest.approx(result(optimized(three()))["performance_metrics"])
    assert recipes(job) == dict.fromkeys(("baseline", "first", "second", "third"), ("applied", None))
    made = [request["steps"][0]["recipe"] for request in place.converter.requests]  # type: ignore[index]
    assert made == ["first", "second", "third", "third", "second"]  # the last to prove it
    again = place.scratches.opened[1]
    assert set(again.loads) == {"baseline", "second", "third"}
    assert place.model_store._last == {"mlp": 2}


PHASES = (
    "preparing the baseline", "measuring the baseline", "making second", "comparing the answers of second",
    "measuring second beside the baseline", "measuring second again", "making second again from its source",
    "publishing",
)  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_cancelled_in_any_phase_it_leaves_no_scratch_triton_and_no_revision(phase: str) -> None:
    async def cancelled() -> tuple[Job, Server]:
        server = await place.open()
        if phase == "publishing":
            place.repository.publish_s = 1.0
        job = await server.submit(deploy=Deploy.PROMOTE)
        await place.until(job, phase)
        return await server.jobs.cancel(job.id, ADMIN), server

    place = three(QUANTIZED)
    place.converter.slow_s = 1.0
    job, server = in_no_time(cancelled())
    assert job.state is JobState.CANCELLED
    assert place.scratches.closed == len(place.scratches.opened)
    assert list(server.catalog.numbers("mlp")) == [1]
    assert server.catalog.resolve("mlp").state is ModelState.UNLOADED
    left = {path.name for path in (place.workspaces.root / job.id).iterdir()}
    assert left <= {"log.txt", "evidence.json", "reproduce.sh", "job.json"}


def test_after_a_cancelled_one_the_next_begins() -> None:
    async def next_one() -> Job:
        server = await place.open()
        first, second = await server.submit(), await server.submit()
        await place.until(first, "making second")
        await server.jobs.cancel(first.id, ADMIN)
        return await server.jobs.wait(second.id)

    place = three()
    place.converter.slow_s = 1.0
    assert in_no_time(next_one()).state is JobState.COMPLETED


def test_a_recipe_that_the_level_has_not_is_refused_when_it_is_asked_for() -> None:
    place = three()
    with pytest.raises(InvalidRequest, match="basic has no recipe 'fourth' for this model; it has: first, second"):
        optimized(place, recipes=("fourth",))
    assert list(recipes(optimized(place, recipes=("third", "first")))) == ["baseline", "first", "third"]
