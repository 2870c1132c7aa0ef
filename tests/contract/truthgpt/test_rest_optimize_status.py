"""How an optimization is, over REST, the list of all, and cancelling one: T-REST-07, 12, 22."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.domain.events import NewEvent, Topic
from control_plane.domain.exports import ExportFormat
from control_plane.domain.jobs import Job, JobKind
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served, serving
from tests.contract.truthgpt.optimizations import (
    NOON,
    STATUS,
    finished,
    held,
    status,
    submitted,
    world_with,
)
from tests.doubles.optimizations import StubOptimizing


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
