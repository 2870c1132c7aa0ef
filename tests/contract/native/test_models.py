"""Revisions, load and unload of our own API: X-LIFE-01, X-LIFE-02, X-LIFE-06."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.domain.models import Artifact, ModelState
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
        "conversion": None,
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


async def test_x_life_02_an_upload_is_acknowledged_and_becomes_a_revision_in_a_job(serve_http: ServeHttp) -> None:
    http = await serve_http()
    files = {"file": ("m.onnx", b"weights")}
    reply = await http.client.post("/native/v1/models/own/revisions", files=files, headers=http.admin)

    assert reply.status_code == 202
    job = await http.world.services.jobs.wait(reply.json()["job_id"])
    assert (job.kind, job.state, job.model) == ("import", "completed", "own")
    assert job.result == {"model": "own", "revision": 1, "size_bytes": 3000, "sha256": "c" * 64, "format": "onnx"}
    assert http.world.services.catalog.get("own").stable.state is ModelState.UNLOADED


async def test_x_life_02_a_precision_has_the_model_converted(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post(
        "/native/v1/models/own/revisions?precision=q8&input=x:FP32:-1,16",
        files={"file": ("m.pt", b"module")},
        headers=http.admin,
    )

    job = await http.world.services.jobs.wait(reply.json()["job_id"])
    assert job.state == "completed"
    (request,) = http.world.converter.requests
    assert request["precision"] == "q8"
    assert request["inputs"] == [{"name": "x", "datatype": "FP32", "shape": (-1, 16)}]


async def test_x_life_02_inputs_of_what_says_its_own_are_refused_instead_of_ignored(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post(
        "/native/v1/models/own/revisions?input=x:FP32:-1,16",
        files={"file": ("m.onnx", b"weights")},
        headers=http.admin,
    )
    job = await http.world.services.jobs.wait(reply.json()["job_id"])
    assert job.failure is not None
    assert job.failure.code == "INVALID_REQUEST"
    assert "leave input out" in job.failure.message


async def test_x_life_02_another_configuration_is_a_new_revision_that_is_not_loaded(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.post(
        "/native/v1/models/adder/revisions", json={"config": {"max_batch_size": 4}}, headers=http.admin
    )

    assert reply.status_code == 202
    job = await http.world.services.jobs.wait(reply.json()["job_id"])
    assert (job.kind, job.state) == ("configure", "completed")
    status = http.world.services.catalog.status("adder", 2)
    assert (status.revision.signature.max_batch_size, status.state) == (4, ModelState.UNLOADED)
    assert http.world.services.catalog.get("adder").record.aliases == {"stable": 1}


@pytest.mark.parametrize(
    "body", [{}, {"config": {}}, {"config": {"threads": 3}}, {"config": {"instance_count": 0}}, {"file": "x"}]
)
async def test_x_life_02_a_change_of_nothing_known_is_refused(serve_http: ServeHttp, body: dict[str, object]) -> None:
    http = await serve_http()
    reply = await http.client.post("/native/v1/models/adder/revisions", json=body, headers=http.admin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_x_life_02_is_for_managers_of_known_models(serve_http: ServeHttp) -> None:
    http = await serve_http()
    change = {"config": {"instance_count": 2}}
    assert (
        await http.client.post("/native/v1/models/adder/revisions", json=change, headers=http.user)
    ).status_code == 403
    assert (
        await http.client.post("/native/v1/models/nope/revisions", json=change, headers=http.admin)
    ).status_code == 404
