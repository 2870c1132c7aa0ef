"""Optimizations with both clients: asked for, followed, explained."""

from __future__ import annotations

import pytest
from tritonplane_client import BadRequestError, ConflictError, NotFoundError

from tests.doubles.plane import Miniature
from tests.unit.client.both import Face


async def test_an_optimization_is_asked_for_with_its_parameters_as_they_are(client: Face, plane: Miniature) -> None:
    reply = await client.call("optimize", "coder", "perfect", min_accuracy=0.98, recipes=["int8-dynamic"])
    assert (reply["optimization_id"], reply["success"]) == ("opt_1", True)
    assert (plane.seen[-1].method, plane.seen[-1].path) == ("POST", "/v1/optimize")
    assert plane.seen[-1].json == {
        "model_id": "coder",
        "optimization_level": "perfect",
        "parameters": {"min_accuracy": 0.98, "recipes": ["int8-dynamic"]},
    }
    with pytest.raises(BadRequestError, match="optimization_level"):
        await client.call("optimize", "coder", "godlike")
    with pytest.raises(NotFoundError, match="no model named 'nobody'"):
        await client.call("optimize", "nobody")


async def test_how_far_it_is_is_told_and_of_all_in_a_list(client: Face, plane: Miniature) -> None:
    told = await client.call("optimization", "opt_endless")
    assert (told["status"], told["current_step"]) == ("running", "trying int8-dynamic")
    listed = await client.call("optimizations", level="divine", status="failed", limit=5)
    assert [one["optimization_id"] for one in listed] == ["opt_bad"]
    assert plane.seen[-1].query == {"optimization_level": "divine", "status": "failed", "skip": "0", "limit": "5"}


async def test_results_come_when_it_is_over_and_the_status_before(client: Face) -> None:
    over = await client.call("optimization_results", "opt_1")
    assert (over["chosen_recipe"], over["optimized_model_id"]) == ("int8-dynamic", "coder:2")
    running = await client.call("optimization_results", "opt_endless")
    assert "recipes" not in running
    assert running["status"] == "running"


async def test_the_evidence_has_every_sample(client: Face) -> None:
    told = await client.call("optimization_evidence", "opt_1")
    names = [candidate["name"] for candidate in told["candidates"]]
    assert names == ["baseline", "threads-1", "int8-dynamic", "weights-4bit", "tensorrt-fp16"]
    assert len(told["finals"][0]["comparison"]["latency"]["candidate"]) == 12
    with pytest.raises(NotFoundError, match="no evidence"):
        await client.call("optimization_evidence", "opt_endless")


async def test_one_is_cancelled_unless_it_is_over_or_unknown(client: Face, plane: Miniature) -> None:
    assert (await client.call("cancel_optimization", "opt_endless"))["status"] == "cancelled"
    assert (plane.seen[-1].method, plane.seen[-1].path) == ("POST", "/v1/optimize/opt_endless/cancel")
    with pytest.raises(ConflictError):
        await client.call("cancel_optimization", "opt_1")
    for method in ("optimization", "optimization_results", "optimization_evidence", "cancel_optimization"):
        with pytest.raises(NotFoundError) as refused:
            await client.call(method, "opt_none")
        assert refused.value.code == "OPTIMIZATION_NOT_FOUND"


async def test_it_is_watched_as_the_job_that_it_is(client: Face) -> None:
    events = [event async for event in client.follow("watch_job", "opt_1")]
    assert events[-1]["kind"] == "completed"
    assert (await client.call("wait_job", "opt_bad"))["state"] == "failed"


async def test_the_catalog_says_what_can_run_where_the_server_is(client: Face) -> None:
    told = await client.call("catalog")
    assert [(level["name"], level["available"]) for level in told["levels"]] == [("basic", True), ("omnipotent", False)]
    assert told["recipes"][1]["reason"] == "it needs tensorrt"
