"""Health for orchestrators: L-HEALTH-01 to 03. What does not exist yet has no key."""

from __future__ import annotations

import os

import pytest

from control_plane.domain.models import ModelState
from control_plane.domain.triton import TritonState
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served


async def test_l_health_01_health_has_what_llmgine_documents(http: Served) -> None:
    body = (await http.client.get("/health")).json()
    assert body["service"] == "llmgine-api"
    assert body["timestamp"].endswith("Z")
    assert body["uptime"] < 1_000_000, "seconds since start, not an epoch"


async def test_l_health_02_ready_tells_what_is_loaded(http: Served) -> None:
    reply = await http.client.get("/health/ready")
    triton = {"initialized": True, "ready": True, "loaded_models": 2, "state": "ready"}
    triton |= {"repository": "managed", "reason": None}
    assert (reply.status_code, reply.json()) == (
        200,
        {"status": "ready", "timestamp": "2026-11-21T12:00:00.000Z", "services": {"triton": triton}, "reason": None},
    )


@pytest.mark.parametrize("state", ModelState)
async def test_l_health_02_the_loaded_models_are_those_that_answer(serve_http: ServeHttp, state: ModelState) -> None:
    http = await serve_http()
    catalog = http.world.services.catalog
    catalog.mark(catalog.resolve("coder").revision, state, http.world.clock.now())
    triton = (await http.client.get("/health/ready")).json()["services"]["triton"]
    answers = state in (ModelState.LOADED, ModelState.OPTIMIZING, ModelState.DEGRADED)
    assert triton["loaded_models"] == (2 if answers else 1)


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (TritonState.STOPPED, False),
        (TritonState.STARTING, False),
        (TritonState.LOADING, False),
        (TritonState.READY, True),
        (TritonState.DEGRADED, True),
        (TritonState.CRASHED, False),
        (TritonState.UNREACHABLE, False),
    ],
)
async def test_l_health_02_ready_follows_triton(serve_http: ServeHttp, state: TritonState, ready: bool) -> None:
    http = await serve_http()
    http.world.server.state = state
    reply = await http.client.get("/health/ready")
    assert (reply.status_code, reply.json()["status"]) == ((200, "ready") if ready else (503, "not_ready"))
    assert reply.json()["services"]["triton"]["state"] == state.value
    assert ready or state.value in reply.json()["reason"]
    assert ("Retry-After" in reply.headers) is not ready


async def test_l_health_02_a_stopping_server_is_not_ready(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.services.health.stopping.set()
    reply = await http.client.get("/health/ready")
    assert (reply.status_code, reply.json()["reason"]) == (503, "the server is stopping")


async def test_l_health_03_live_never_depends_on_triton(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.server.state = TritonState.CRASHED
    body = (await http.client.get("/health/live")).json()
    assert (body["status"], body["pid"]) == ("alive", os.getpid())
    assert body["timestamp"].endswith("Z")


async def test_l_health_03_the_process_id_is_hidden_where_the_operator_says_so(serve_http: ServeHttp) -> None:
    http = await serve_http(hide_pid=True)
    assert (await http.client.get("/health/live")).json()["pid"] is None
