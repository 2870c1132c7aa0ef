"""What an optimization found, over REST: T-REST-13, its evidence, and its job."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import EngineFailed
from tests.contract.conftest import ServeHttp
from tests.contract.truthgpt.optimizations import (
    NOON,
    SERVING,
    finished,
    held,
    status,
    world_with,
)
from tests.doubles.optimizations import StubOptimizing, findings


async def test_t_rest_13_the_results_say_what_was_tried_and_what_won(serve_http: ServeHttp) -> None:
    http = await serve_http()
    optimization_id = await finished(http)
    reply = await http.client.get(f"/v1/optimizations/{optimization_id}/results", headers=http.viewer)
    assert reply.status_code == 200
    told = reply.json()
    assert {name: told[name] for name in ("optimization_id", "model_id", "optimized_model_id", "status")} == {
        "optimization_id": optimization_id,
        "model_id": "adder",
        "optimized_model_id": "adder:2",
        "status": "completed",
    }
    assert (told["optimization_level"], told["chosen_recipe"]) == ("master", "int8-dynamic")
    assert set(told["baseline"]) >= SERVING
    assert set(told["optimized"]) >= SERVING
    ratio = told["baseline"]["latency_p50_s"] / told["optimized"]["latency_p50_s"]
    assert told["performance_metrics"]["speedup"] == pytest.approx(ratio)
    assert (told["baseline"]["size_bytes"], told["optimized"]["size_bytes"]) == (100_000, 25_000)
    recipes = {recipe["name"]: recipe for recipe in told["recipes"]}
    assert {name: recipe["status"] for name, recipe in recipes.items()} == {
        "baseline": "applied",
        "threads-1": "applied",
        "int8-dynamic": "applied",
        "weights-4bit": "rejected",
        "tensorrt-fp16": "skipped",
    }
    assert recipes["weights-4bit"]["reason"] == "accuracy: cosine is 0.9312, below 0.99"
    assert recipes["weights-4bit"]["metrics"]["accuracy"] == 0.9312
    assert "requires_gpu" in recipes["tensorrt-fp16"]["reason"]
    assert recipes["tensorrt-fp16"]["metrics"] == {}
    assert told["accuracy"] == {
        "metric": "cosine",
        "samples": 200,
        "value": 0.9954,
        "low_evidence": False,
        "data": "the converter's own sentences",
    }
    assert told["artifacts"] == [{"path": "model.onnx", "size_bytes": 25_000, "sha256": "ab" * 32}]
    assert {"cpu", "device", "tool"} <= set(told["environment"])
    assert (told["created_at"], told["completed_at"], told["error_message"]) == (NOON, NOON, None)


async def test_t_rest_13_a_baseline_that_wins_is_an_honest_result(serve_http: ServeHttp) -> None:
    http = await serve_http(await world_with(StubOptimizing(findings(baseline_wins=True))))
    reply = await http.client.get(f"/optimizations/{await finished(http)}/results", headers=http.viewer)
    told = reply.json()
    assert (reply.status_code, told["status"], told["chosen_recipe"]) == (200, "completed", "baseline")
    assert (told["optimized_model_id"], told["optimized"], told["artifacts"]) == (None, None, [])
    assert told["performance_metrics"]["speedup"] == 1.0
    assert set(told["baseline"]) >= SERVING


async def test_t_rest_13_before_the_end_the_answer_is_202_with_the_status(serve_http: ServeHttp) -> None:
    http, _, optimization_id = await held(serve_http)
    reply = await http.client.get(f"/optimizations/{optimization_id}/results", headers=http.viewer)
    assert reply.status_code == 202
    assert reply.json() == await status(http, optimization_id)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_t_rest_13_what_was_not_measured_is_null(serve_http: ServeHttp, end: str) -> None:
    if end == "failed":
        http = await serve_http(await world_with(StubOptimizing(failure=EngineFailed("it died"))))
        optimization_id = await finished(http)
    else:
        http, _, optimization_id = await held(serve_http)
        await http.client.delete(f"/optimize/{optimization_id}", headers=http.admin)
    reply = await http.client.get(f"/optimizations/{optimization_id}/results", headers=http.viewer)
    told = reply.json()
    assert (reply.status_code, told["status"]) == (200, end)
    nothing = ("optimized_model_id", "baseline", "optimized", "chosen_recipe", "accuracy", "environment")
    assert {told[name] for name in nothing} == {None}
    assert (told["performance_metrics"], told["recipes"], told["artifacts"]) == ({}, [], [])
    assert told["error_message"] == ("it died" if end == "failed" else None)
    assert told["completed_at"] == NOON


async def test_the_evidence_is_the_file_with_all_samples_and_is_there_only_after_the_end(
    serve_http: ServeHttp,
) -> None:
    http, work, optimization_id = await held(serve_http)
    url = f"/optimize/{optimization_id}/evidence"
    early = await http.client.get(url, headers=http.viewer)
    assert (early.status_code, early.json()["code"]) == (404, "NOT_FOUND")
    assert work.gate is not None
    work.gate.set()
    await http.world.services.jobs.wait(optimization_id)
    reply = await http.client.get(url, headers=http.viewer)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
    told = reply.json()
    assert (told["schema"], told["optimization_id"], told["model"]) == (1, optimization_id, "adder")
    assert len(told["candidates"][0]["comparison"]["latency"]["baseline"]) == 12
    assert reply.content == http.world.workspaces.evidence_file(optimization_id).read_bytes()


async def test_x_job_01_an_optimization_is_a_job_like_others(serve_http: ServeHttp) -> None:
    http = await serve_http()
    optimization_id = await finished(http)
    listed = await http.client.get("/native/v1/jobs", params={"kind": "optimize"}, headers=http.viewer)
    assert [job["id"] for job in listed.json()] == [optimization_id]
    got = await http.client.get(f"/native/v1/jobs/{optimization_id}", headers=http.viewer)
    assert (got.json()["kind"], got.json()["parameters"]["level"]) == ("optimize", "master")
    assert got.json()["result"]["chosen_recipe"] == "int8-dynamic"
    watched = await http.client.get(f"/native/v1/jobs/{optimization_id}/events", headers=http.viewer)
    assert "event: completed" in watched.text
    log = await http.client.get(f"/native/v1/jobs/{optimization_id}/log", headers=http.admin)
    assert log.status_code == 200
    refused = await http.client.post(f"/native/v1/jobs/{optimization_id}/cancel", headers=http.admin)
    assert refused.status_code == 409
