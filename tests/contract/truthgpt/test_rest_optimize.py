"""Asking for optimizations over REST: T-REST-06, 21, and T-SCH-04 to 06."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.optimization import Level
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.truthgpt.optimizations import (
    LEVELS,
    STATUS,
    asked,
    finished,
    status,
    submitted,
    world_with,
)
from tests.doubles.optimizations import StubOptimizing


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
