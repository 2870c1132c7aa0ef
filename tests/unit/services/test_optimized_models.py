"""What is done with the winner of an optimization, by the whole workflow on doubles, in virtual time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed, ModelNotFound, NotFound
from control_plane.domain.jobs import Job, JobState, JsonObject
from control_plane.domain.optimization import Deploy, Level
from tests.doubles.optimizing import ADMIN, Place, candidate, in_no_time, level, result


def faster(deploy: Deploy, *, loads: bool) -> tuple[Job, int]:
    """The job, and which revision the bare name means after it."""
    place = Place(level("basic", candidate("fast")), fast=0.01)
    if not loads:
        place.triton.refusals["mlp--r2"] = EngineFailed("it does not fit into the memory that is left")

    async def one() -> tuple[Job, int]:
        server = await place.open()
        job = await server.optimized(Level.BASIC, deploy=deploy)
        return job, server.catalog.resolve("mlp").revision.number

    return in_no_time(one())


@pytest.mark.parametrize(
    ("deploy", "told", "stable"),
    [
        (Deploy.NONE, None, 1),
        (Deploy.LOAD, {"deployed": "load", "reason": None}, 1),
        (Deploy.PROMOTE, {"deployed": "promote", "reason": None}, 2),
    ],
)
def test_the_result_says_what_was_done_with_the_new_revision(
    deploy: Deploy, told: JsonObject | None, stable: int
) -> None:
    job, meant = faster(deploy, loads=True)
    assert (result(job).get("deployment"), meant) == (told, stable)


@pytest.mark.parametrize("deploy", [Deploy.LOAD, Deploy.PROMOTE])
def test_a_new_revision_that_cannot_be_loaded_is_a_reason_and_no_failure(deploy: Deploy) -> None:
    job, meant = faster(deploy, loads=False)
    assert (job.state, meant) == (JobState.COMPLETED, 1)
    told = result(job)
    assert told["optimized_model_id"] == "mlp:2"
    assert told["deployment"]["deployed"] == "none"
    assert "does not fit into the memory" in told["deployment"]["reason"]


def test_evidence_is_of_an_optimization_that_has_completed() -> None:
    place = Place(level("basic", candidate("fast")), fast=0.01)

    async def asked() -> str:
        server = await place.open()
        job = await server.submit(Level.BASIC)
        await place.until(job, "publishing")
        file = place.workspaces.evidence_file(job.id)
        file.write_text("{}")  # as it is from before the revision is published
        with pytest.raises(NotFound, match="has no evidence: it is running"):
            await server.optimizations.evidence(job.id)
        await server.jobs.wait(job.id)
        return (await server.optimizations.evidence(job.id)).read_text()

    assert '"optimized_model_id": "mlp:2"' in in_no_time(asked())


def test_a_model_that_is_purged_meanwhile_does_not_come_back() -> None:
    place = Place(level("basic", candidate("fast")), fast=0.01)

    async def purged() -> Job:
        server = await place.open()
        job = await server.submit(Level.BASIC)
        await place.until(job, "measuring fast again")
        await server.models.purge("mlp")
        job = await server.jobs.wait(job.id)
        with pytest.raises(ModelNotFound):
            server.catalog.get("mlp")
        return job

    job = in_no_time(purged())
    assert job.failure is not None
    assert (job.state, job.failure.code) == (JobState.FAILED, "MODEL_NOT_FOUND")
    assert place.repository.packages == []


def test_cancelled_while_the_revision_is_packed_it_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(level("basic", candidate("fast")), fast=0.01)
    is_packing, is_made, makedirs = threading.Event(), threading.Event(), os.makedirs

    def slow(name: str, *given: Any, **named: Any) -> None:
        is_packing.set()
        time.sleep(0.3)  # so long as a cancelled job could take to be cleaned up
        makedirs(name, *given, **named)
        is_made.set()

    async def cancelled() -> list[str]:
        server = await place.open()
        job = await server.submit(Level.BASIC)
        await place.until(job, "publishing")
        monkeypatch.setattr(os, "makedirs", slow)
        await asyncio.to_thread(is_packing.wait)
        await server.jobs.cancel(job.id, ADMIN)
        await asyncio.to_thread(is_made.wait)
        return [path.name for path in (place.workspaces.root / job.id).iterdir()]

    assert "package" not in in_no_time(cancelled())
    assert place.repository.packages == []
