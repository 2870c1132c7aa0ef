"""Optimizations over REST: T-REST-06, 07, 12, 13, 21, 22, and T-SCH-04 to 06."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.domain.events import NewEvent, Topic
from control_plane.domain.exports import ExportFormat
from control_plane.domain.jobs import Job, JobKind
from control_plane.domain.optimization import Level
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served, serving
from tests.doubles.optimizations import StubOptimizing, findings
from tests.doubles.services import World

LEVELS = [
    "basic", "advanced", "expert", "master", "legendary", "transcendent", "divine", "omnipotent", "infinite",
    "ultimate", "absolute", "perfect",
]  # fmt: skip
NOON = "2026-11-21T12:00:00.000Z"
STATUS = {
    "optimization_id", "status", "progress", "performance_metrics", "error_message", "state", "model_id",
    "optimization_level", "optimized_model_id", "current_step", "created_at", "started_at", "completed_at",
}  # fmt: skip
SERVING = {"latency_p50_s", "latency_p95_s", "throughput", "size_bytes", "tokens_per_second"}


async def asked(http: Served, level: str = "master", model: str = "adder", **parameters: Any) -> Any:
    body = {"model_id": model, "optimization_level": level, "parameters": parameters}
    return await http.client.post("/optimize", json=body, headers=http.admin)


async def submitted(http: Served, level: str = "master", **parameters: Any) -> str:
    reply = await asked(http, level, **parameters)
    assert reply.status_code == 200, reply.text
    optimization_id: str = reply.json()["optimization_id"]
    return optimization_id


async def finished(http: Served, level: str = "master", **parameters: Any) -> str:
    optimization_id = await submitted(http, level, **parameters)
    await http.world.services.jobs.wait(optimization_id)
    return optimization_id


async def status(http: Served, optimization_id: str) -> dict[str, Any]:
    reply = await http.client.get(f"/optimize/{optimization_id}", headers=http.viewer)
    assert reply.status_code == 200
    told: dict[str, Any] = reply.json()
    return told


async def world_with(work: StubOptimizing) -> World:
    world = await two_models()
    world.services.jobs.register(JobKind.OPTIMIZE, work)
    return world


async def held(serve_http: ServeHttp) -> tuple[Served, StubOptimizing, str]:
    """An optimization that waits half-way."""
    work = StubOptimizing(gate=asyncio.Event())
    http = await serve_http(await world_with(work))
    optimization_id = await submitted(http)
    await work.half_way.wait()
    return http, work, optimization_id


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_t_rest_06_an_optimization_is_asked_for_and_answered_at_once(serve_http: ServeHttp, prefix: str) -> None:
    http = await serve_http(await world_with(StubOptimizing(gate=asyncio.Event())))
    body = {
        "model_id": "adder",
        "optimization_level": "master",
        "parameters": {"learning_rate": "0.001", "batch_size": "32"},
    }
    reply = await http.client.post(f"{prefix}/optimize", json=body, headers=http.admin)
    assert reply.status_code == 200
    optimization_id = reply.json()["optimization_id"]
    assert re.fullmatch(r"opt_[0-9A-HJKMNP-TV-Z]{26}", optimization_id)
    assert reply.json() == {
        "optimization_id": optimization_id,
        "success": True,
        "error_message": None,
        "ignored_parameters": ["learning_rate"],
    }
    job = await http.world.services.jobs.get(optimization_id)
    assert (job.model, job.created_by, job.parameters["revision"]) == ("adder", "somebody", 1)
    assert job.parameters["batch_size"] == 32


async def test_t_rest_06_parameters_may_be_typed_or_texts_and_are_kept_as_values(serve_http: ServeHttp) -> None:
    http = await serve_http()
    typed = {"min_accuracy": 0.97, "time_budget_seconds": 60, "recipes": ["onnx-basic", "threads-1"]}
    texts = {"min_accuracy": "0.97", "time_budget_seconds": "60", "recipes": "onnx-basic, threads-1"}
    for parameters in (typed, texts):
        parameters["objective"] = "memory"
        job = await http.world.services.jobs.get(await submitted(http, **parameters))
        kept = {name: job.parameters[name] for name in ("min_accuracy", "time_budget_s", "objective")}
        assert kept == {"min_accuracy": 0.97, "time_budget_s": 60.0, "objective": "memory"}
        assert list(job.parameters["recipes"]) == ["onnx-basic", "threads-1"]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimization_level": "godlike"}, "optimization_level must be one of basic, advanced,"),
        ({"optimization_level": 5}, "optimization_level"),
        ({"optimization_level": None}, "optimization_level"),
        ({"parameters": {"tempo": "high"}}, "unknown parameter 'tempo'"),
        ({"parameters": {"min_accuracy": 1.5}}, "min_accuracy must be a number from 0 to 1"),
        ({"parameters": {"min_accuracy": "high"}}, "min_accuracy must be a number from 0 to 1"),
        ({"parameters": {"batch_size": 0}}, "batch_size"),
        ({"parameters": {"batch_size": True}}, "batch_size"),
        ({"parameters": {"objective": "beauty"}}, "objective must be one of latency, throughput, memory"),
        ({"parameters": {"deploy": "now"}}, "deploy must be one of none, load, canary, promote"),
        ({"parameters": {"recipes": []}}, "recipes must be a list"),
        (
            {"parameters": {"recipes": ["threads-1"]}},
            "basic has no recipe 'threads-1' for this model; it has: onnx-basic",
        ),
        ({"parameters": {"eval_data": ["a.jsonl"]}}, "eval_data must be a text"),
        ({"parameters": {"baseline": "coder"}}, "baseline must be a revision of 'adder'"),
        ({"parameters": ["deploy"]}, "parameters"),
        ({"model_id": "b$(touch x)"}, "cannot name a model"),
    ],
)
async def test_t_rest_06_what_cannot_be_meant_is_400_in_one_sentence(
    http: Served, change: dict[str, Any], said: str
) -> None:
    body = {"model_id": "adder", "optimization_level": "basic", **change}
    reply = await http.client.post("/v1/optimize", json=body, headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert said in reply.json()["error"] or said in str(reply.json()["details"])
    assert reply.json()["details"]["request_id"]


async def test_t_rest_06_an_unknown_model_is_404_and_canary_is_not_there_yet(http: Served) -> None:
    for model in ("nobody", "adder:7"):
        reply = await asked(http, model=model)
        assert (reply.status_code, reply.json()["code"]) == (404, "MODEL_NOT_FOUND")
    reply = await asked(http, deploy="canary")
    assert (reply.status_code, reply.json()["code"]) == (501, "NOT_SUPPORTED_HERE")
    assert reply.json()["details"]["requires"] == ["rollouts"]


async def test_t_rest_06_only_who_manages_models_may_ask(http: Served) -> None:
    body = {"model_id": "adder", "optimization_level": "basic"}
    for role in (Role.VIEWER, Role.USER):
        reply = await http.client.post("/optimize", json=body, headers=http.as_role(role))
        assert (reply.status_code, reply.json()["code"]) == (403, "FORBIDDEN")
    assert (await http.client.post("/optimize", json=body)).status_code == 401
    # The form is checked before the role (C-ERR-09).
    wrong = {"model_id": "adder", "optimization_level": "godlike"}
    assert (await http.client.post("/optimize", json=wrong, headers=http.viewer)).status_code == 400


async def test_t_rest_06_held_out_inputs_lie_below_the_import_root(serve_http: ServeHttp, tmp_path: Path) -> None:
    http = await serve_http(await two_models(import_root=tmp_path))
    (tmp_path / "held-out.jsonl").write_text("{}")
    assert (await asked(http, eval_data="held-out.jsonl")).status_code == 200
    assert (await asked(http, eval_data="missing.jsonl")).status_code == 400
    outside = await asked(http, eval_data="../../etc/passwd")
    assert (outside.status_code, outside.json()["details"]["field"]) == (403, "eval_data")
    assert outside.json()["error"].startswith("eval_data must stay below the import root")


async def test_t_rest_21_each_of_the_twelve_levels_is_accepted(serve_http: ServeHttp) -> None:
    http = await serve_http()
    told = [await status(http, await finished(http, level)) for level in LEVELS]
    assert [(one["optimization_level"], one["status"]) for one in told] == [(level, "completed") for level in LEVELS]


def test_t_rest_21_the_levels_are_those_of_the_contract() -> None:
    assert [level.value for level in Level] == LEVELS


async def test_t_rest_07_a_running_one_tells_how_far_it_is_and_what_it_is_at(serve_http: ServeHttp) -> None:
    http, work, optimization_id = await held(serve_http)
    assert await status(http, optimization_id) == {
        "optimization_id": optimization_id,
        "status": "running",
        "progress": 50.0,
        "performance_metrics": {},
        "error_message": None,
        "state": "running",
        "model_id": "adder",
        "optimization_level": "master",
        "optimized_model_id": None,
        "current_step": "measuring int8-dynamic beside the baseline",
        "created_at": NOON,
        "started_at": NOON,
        "completed_at": None,
    }
    assert work.gate is not None
    work.gate.set()
    await http.world.services.jobs.wait(optimization_id)
    told = await status(http, optimization_id)
    assert (told["status"], told["progress"], told["completed_at"]) == ("completed", 100.0, NOON)
    assert told["optimized_model_id"] == "adder:2"
    measured = told["performance_metrics"]
    assert {"speedup", "memory_reduction", "accuracy_preservation", "speedup_ci_low", "samples"} <= set(measured)
    assert 1.8 < measured["speedup_ci_low"] <= measured["speedup"] <= measured["speedup_ci_high"] < 2.2
    assert (measured["accuracy_preservation"], measured["memory_reduction"]) == (0.9954, 0.4)


async def test_t_rest_07_a_queued_one_is_told_as_running_with_its_state_beside_it(serve_http: ServeHttp) -> None:
    http = await serve_http()
    parameters: dict[str, object] = {"level": "basic"}
    waiting = Job("opt_waiting", JobKind.OPTIMIZE, "adder", http.world.clock.now(), "lea", parameters)
    await http.world.services.jobs._store.create(waiting, NewEvent(Topic.JOB, waiting.id, "queued", {}))
    told = await status(http, waiting.id)
    assert (told["status"], told["state"], told["progress"], told["started_at"]) == ("running", "queued", 0.0, None)


async def test_t_rest_07_a_failed_one_says_why(serve_http: ServeHttp) -> None:
    failure = EngineFailed("the baseline cannot be measured: it died")
    http = await serve_http(await world_with(StubOptimizing(failure=failure)))
    told = await status(http, await finished(http))
    assert (told["status"], told["state"], told["error_message"]) == ("failed", "failed", failure.message)
    assert (told["performance_metrics"], told["progress"]) == ({}, 50.0)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("get", "/optimize/{}"),
        ("get", "/optimizations/{}/results"),
        ("get", "/optimize/{}/evidence"),
        ("delete", "/optimize/{}"),
        ("post", "/optimize/{}/cancel"),
    ],
)
async def test_t_rest_07_13_22_an_unknown_one_is_404_also_where_another_job_has_that_id(
    serve_http: ServeHttp, verb: str, path: str
) -> None:
    http = await serve_http()
    export = await http.world.services.exports.submit("adder", ExportFormat.ONNX, None)
    for unknown in ("opt_01JCZZZZZZZZZZZZZZZZZZZZZZ", "nothing", export.id):
        reply = await http.client.request(verb, path.format(unknown), headers=http.admin)
        assert (reply.status_code, reply.json()["code"]) == (404, "OPTIMIZATION_NOT_FOUND"), unknown
        assert unknown in reply.json()["error"]


async def test_t_rest_12_the_list_is_newest_first_filtered_and_in_pages(serve_http: ServeHttp) -> None:
    http = await serve_http()
    ids = [await finished(http, level) for level in ("basic", "master", "basic")]
    await http.world.services.exports.submit("adder", ExportFormat.ONNX, None)
    work = StubOptimizing(gate=asyncio.Event())
    http.world.services.jobs.register(JobKind.OPTIMIZE, work)
    ids.append(await submitted(http, "perfect"))
    await work.half_way.wait()

    async def found(**query: Any) -> tuple[list[str], int]:
        reply = await http.client.get("/optimizations", params=query, headers=http.viewer)
        assert reply.status_code == 200
        assert all(set(one) == STATUS for one in reply.json())
        return [one["optimization_id"] for one in reply.json()], int(reply.headers["X-Total-Count"])

    assert await found() == (ids[::-1], 4)
    assert await found(skip=1, limit=2) == ([ids[2], ids[1]], 4)
    assert await found(optimization_level="basic") == ([ids[2], ids[0]], 2)
    assert await found(status="running") == ([ids[3]], 1)
    assert await found(status="completed", optimization_level="master") == ([ids[1]], 1)
    assert await found(status="failed") == ([], 0)


@pytest.mark.parametrize(
    "query", [{"status": "queued"}, {"status": "done"}, {"optimization_level": "godlike"}, {"limit": "0"}]
)
async def test_t_rest_12_a_word_that_is_none_of_the_enum_is_400(http: Served, query: dict[str, str]) -> None:
    reply = await http.client.get("/optimizations", params=query, headers=http.viewer)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")


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


@pytest.mark.parametrize(("verb", "path"), [("delete", "/optimize/{}"), ("post", "/v1/optimize/{}/cancel")])
async def test_t_rest_22_a_running_one_is_cancelled_and_a_finished_one_is_not(
    serve_http: ServeHttp, verb: str, path: str
) -> None:
    http, _, optimization_id = await held(serve_http)
    for role in (Role.VIEWER, Role.USER):
        refused = await http.client.request(verb, path.format(optimization_id), headers=http.as_role(role))
        assert refused.status_code == 403
    assert (await status(http, optimization_id))["status"] == "running"
    reply = await http.client.request(verb, path.format(optimization_id), headers=http.admin)
    assert reply.status_code == 200
    assert reply.json() == {"success": True, "optimization_id": optimization_id, "status": "cancelled"}
    assert (await status(http, optimization_id))["state"] == "cancelled"

    http.world.services.jobs.register(JobKind.OPTIMIZE, StubOptimizing())
    over = await finished(http)
    refused = await http.client.request(verb, path.format(over), headers=http.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFLICT")


async def test_t_rest_22_where_users_manage_each_cancels_only_what_is_their_own() -> None:
    world = await two_models(user_can_manage=True)
    work = StubOptimizing(gate=asyncio.Event())
    world.services.jobs.register(JobKind.OPTIMIZE, work)
    async with serving(world) as http:
        body = {"model_id": "adder", "optimization_level": "basic"}
        lea, tom = http.as_role(Role.USER, "lea"), http.as_role(Role.USER, "tom")
        path = f"/optimize/{(await http.client.post('/optimize', json=body, headers=lea)).json()['optimization_id']}"
        await work.half_way.wait()
        assert (await http.client.delete(path, headers=tom)).status_code == 403
        assert (await http.client.delete(path, headers=lea)).status_code == 200


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


async def test_t_sch_04_to_06_the_schemas_have_the_seeds_properties(http: Served) -> None:
    document = (await http.client.get("/v1/openapi.json")).json()
    schemas = document["components"]["schemas"]
    request = schemas["OptimizationRequest"]
    assert set(request["properties"]) == {"model_id", "optimization_level", "parameters"}
    assert set(request["required"]) == {"model_id", "optimization_level"}
    assert request["properties"]["optimization_level"]["enum"] == LEVELS
    assert {"optimization_id", "success", "error_message"} <= set(schemas["OptimizationResponse"]["properties"])
    assert set(schemas["OptimizationStatus"]["properties"]) == STATUS
    assert schemas["OptimizationStatus"]["properties"]["status"]["enum"] == [
        "running",
        "completed",
        "failed",
        "cancelled",
    ]
    results = document["paths"]["/optimizations/{optimization_id}/results"]["get"]["responses"]
    assert results["202"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/OptimizationStatus"
    }
