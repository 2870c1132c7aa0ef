"""Revisions, load and unload of our own API: X-LIFE-01, X-LIFE-06."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.domain.models import Artifact
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served
from tests.doubles.repository import text_revision
from tests.doubles.services import make_world


async def test_x_life_01_every_revision_is_told_with_its_state_and_where_it_comes_from(
    serve_http: ServeHttp,
) -> None:
    evidence = (Artifact("evidence.json", 10, "e" * 64),)
    world = await make_world(text_revision("coder"), text_revision("coder", 2, artifacts=evidence))
    await world.services.models.load("coder:2")
    http = await serve_http(world)
    body = (await http.client.get("/native/v1/models/coder/revisions", headers=http.viewer)).json()
    assert (body["model"], body["aliases"]) == ("coder", {"stable": 1})
    first, second = body["revisions"]
    assert first == {
        "revision": 1,
        "state": "unloaded",
        "health": {"status": "UNKNOWN", "since": None, "reason": None},
        "source": "a test",
        "digest": "c" * 64,
        "backend": "text_generation",
        "precision": "int8",
        "labels": {},
        "size_bytes": 3000,
        "memory_bytes": None,
        "created_at": "2026-11-21T11:00:00.000Z",
        "created_by": "tests",
        "evidence": False,
        "last_error": None,
    }
    assert (second["revision"], second["state"], second["memory_bytes"]) == (2, "loaded", 1_000_000)
    assert second["health"] == {"status": "HEALTHY", "since": "2026-11-21T12:00:00.000Z", "reason": None}
    assert second["evidence"] is True


async def test_x_life_01_an_unknown_model_is_not_found_in_the_words_of_our_api(http: Served) -> None:
    reply = await http.client.get("/native/v1/models/nobody/revisions", headers=http.viewer)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")
    assert reply.json()["error"]["request_id"] == reply.headers["X-Request-ID"]


@pytest.mark.parametrize("body", [None, {}, {"timeout_seconds": 10}])
async def test_x_life_06_a_reference_is_loaded_and_unloaded(serve_http: ServeHttp, body: Any) -> None:
    http = await serve_http(await make_world(text_revision("coder"), text_revision("coder", 2)))
    reply = await http.client.post("/native/v1/models/coder:2/load", json=body, headers=http.admin)
    health = {"status": "HEALTHY", "since": "2026-11-21T12:00:00.000Z", "reason": None}
    assert (reply.status_code, reply.json()) == (
        200,
        {"model": "coder", "revision": 2, "state": "loaded", "health": health},
    )
    assert http.world.triton.loaded == {"coder--r2"}
    reply = await http.client.post("/native/v1/models/coder:2/unload", headers=http.admin)
    assert (reply.status_code, reply.json()["state"]) == (200, "unloaded")
    assert http.world.triton.loaded == set()


async def test_x_life_06_another_configuration_is_another_revision(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(text_revision("coder")))
    reply = await http.client.post("/native/v1/models/coder/load", json={"instance_count": 3}, headers=http.admin)
    assert reply.json()["revision"] == 2


@pytest.mark.parametrize("body", [{"instance_count": 0}, {"timeout_seconds": 0}, {"max_batch_size": 1.5}])
async def test_x_life_06_a_value_out_of_bounds_is_refused(http: Served, body: dict[str, Any]) -> None:
    reply = await http.client.post("/native/v1/models/coder/load", json=body, headers=http.admin)
    assert (reply.status_code, reply.json()["error"]["details"]["reason"]) == (400, "schema")


async def test_x_life_06_a_failed_load_says_why(serve_http: ServeHttp) -> None:
    world = await make_world(text_revision("coder"))
    world.triton.refusals["coder--r1"] = EngineFailed("no such op")
    http = await serve_http(world)
    reply = await http.client.post("/native/v1/models/coder/load", headers=http.admin)
    assert (reply.status_code, reply.json()["error"]["message"]) == (500, "no such op")
    listed = (await http.client.get("/native/v1/models/coder/revisions", headers=http.viewer)).json()
    assert (listed["revisions"][0]["state"], listed["revisions"][0]["last_error"]) == ("failed", "no such op")
