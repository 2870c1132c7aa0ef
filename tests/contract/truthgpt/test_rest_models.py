"""Models over REST: T-REST-01 to 05, T-REST-16, T-SCH-01."""

from __future__ import annotations

import re
from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed, TimedOut, Unavailable
from control_plane.domain.models import Description, ModelKind, ModelState
from control_plane.domain.triton import TritonState
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import World, make_world

SAID_ONCE = re.compile(r'"(inference_time|tokens_per_second|timestamp|created_at)": ?("[^"]*"|[0-9.e-]+)')
CODER = {
    "model_id": "coder",
    "name": "coder",
    "type": "transformer",
    "parameters": 1000,
    "size_bytes": 3000,
    "device": "cpu",
    "dtype": "int8",
    "status": "loaded",
    "created_at": "2026-11-21T11:00:00.000Z",
    "updated_at": "2026-11-21T12:00:00.000Z",
    "state": "loaded",
    "version": 1,
    "backend": "text_generation",
    "baseline_model_id": None,
    "last_error": None,
    "memory_bytes": 1_000_000,
    "internal": False,
}


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_t_sch_01_a_model_has_the_seeds_fields_and_ours(http: Served, prefix: str) -> None:
    reply = await http.client.get(f"{prefix}/models/coder", headers=http.viewer)
    assert (reply.status_code, reply.json()) == (200, CODER)
    listed = await http.client.get(f"{prefix}/models", headers=http.viewer)
    assert listed.json()[1] == CODER


async def test_t_sch_01_what_the_files_do_not_say_is_null(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(tensor_revision("plain", description=Description())))
    body = (await http.client.get("/models/plain", headers=http.viewer)).json()
    assert (body["parameters"], body["dtype"], body["memory_bytes"]) == (None, None, None)


async def test_t_rest_04_a_reference_names_a_revision(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(text_revision("coder"), text_revision("coder", 2)))
    for reference, model_id, version in [
        ("coder", "coder", 1),
        ("coder:1", "coder", 1),
        ("coder@stable", "coder", 1),
        ("coder:2", "coder:2", 2),
    ]:
        body = (await http.client.get(f"/models/{reference}", headers=http.viewer)).json()
        assert (body["model_id"], body["name"], body["version"]) == (model_id, "coder", version)


async def test_t_rest_04_an_unknown_model_is_answered_with_those_there_are(http: Served) -> None:
    reply = await http.client.get("/models/codar", headers=http.viewer)
    assert (reply.status_code, reply.json()["code"]) == (404, "MODEL_NOT_FOUND")
    assert reply.json()["details"]["available_models"] == ["adder", "coder"]
    assert reply.json()["details"]["suggestion"] == "Use 'coder' instead"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (ModelState.UNLOADED, "unloaded"),
        (ModelState.LOADING, "unloaded"),
        (ModelState.LOADED, "loaded"),
        (ModelState.OPTIMIZING, "optimizing"),
        (ModelState.UNLOADING, "loaded"),
        (ModelState.DEGRADED, "loaded"),
        (ModelState.DEAD, "unloaded"),
        (ModelState.FAILED, "unloaded"),
    ],
)
async def test_t_rest_02_every_state_has_a_status_that_is_also_its_filter(
    serve_http: ServeHttp, state: ModelState, status: str
) -> None:
    world = await make_world(text_revision("coder"))
    catalog = world.services.catalog
    catalog.mark(catalog.resolve("coder").revision, state, world.clock.now(), last_error="why")
    http = await serve_http(world)
    for wanted in ("loaded", "unloaded", "optimizing"):
        reply = await http.client.get("/models", params={"status": wanted}, headers=http.viewer)
        found = [(model["status"], model["state"], model["last_error"]) for model in reply.json()]
        assert found == ([(status, state.value, "why")] if wanted == status else [])
        assert reply.headers["X-Total-Count"] == str(len(found))


async def test_t_rest_02_a_list_is_filtered_by_type_and_hides_internal_models(serve_http: ServeHttp) -> None:
    hidden = tensor_revision("part", description=Description(is_internal=True))
    http = await serve_http(await make_world(text_revision("coder"), tensor_revision("adder"), hidden))
    for query, names in [
        ({}, ["adder", "coder"]),
        ({"model_type": "transformer"}, ["coder"]),
        ({"model_type": "generic"}, ["adder"]),
        ({"model_type": "diffusion"}, []),
        ({"internal": "true"}, ["adder", "coder", "part"]),
    ]:
        reply = await http.client.get("/models", params=query, headers=http.viewer)
        assert [model["name"] for model in reply.json()] == names
        assert [model["name"] for model in reply.json() if model["internal"]] == [n for n in names if n == "part"]
        assert reply.headers["X-Total-Count"] == str(len(names))


@pytest.mark.parametrize("query", ["model_type=llm", "status=ready", "internal=perhaps"])
async def test_t_rest_02_a_word_outside_its_enum_is_refused(http: Served, query: str) -> None:
    reply = await http.client.get(f"/models?{query}", headers=http.viewer)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert query.split("=", maxsplit=1)[0] in reply.text


async def load(http: Served, name: str = "coder", **body: Any) -> tuple[int, dict[str, Any]]:
    reply = await http.client.post("/models", json={"model_name": name, **body}, headers=http.admin)
    return reply.status_code, reply.json()


async def unloaded() -> World:
    return await make_world(text_revision("coder"), tensor_revision("adder"))


async def test_t_rest_03_a_load_answers_once_the_model_is_there_and_again_the_same(serve_http: ServeHttp) -> None:
    http = await serve_http(await unloaded())
    for _ in range(2):
        answer = await load(http, model_type="transformer")
        assert answer == (200, {"model_id": "coder", "success": True, "error_message": None})
        assert http.world.triton.loaded == {"coder--r1"}


@pytest.mark.parametrize("config", [{"instance_count": 2}, {"instance_count": "2"}])
async def test_t_rest_03_another_config_is_another_revision_and_asked_again_the_same_one(
    serve_http: ServeHttp, config: dict[str, Any]
) -> None:
    http = await serve_http(await unloaded())
    for _ in range(2):
        assert (await load(http, config=config))[1]["model_id"] == "coder:2"
    assert http.world.services.catalog.get("coder").stable.revision.number == 1
    assert http.world.services.catalog.resolve("coder:2").revision.instance_count == 2


async def test_t_rest_03_every_key_of_the_config_is_understood(serve_http: ServeHttp) -> None:
    http = await serve_http(await unloaded())
    config = {
        "device": "cpu",
        "dtype": "float32",
        "instance_count": "1",
        "max_batch_size": 4,
        "dynamic_batching_delay_us": "200",
        "version": "1",
        "timeout_seconds": "30",
    }
    assert (await load(http, "adder", config=config))[1]["model_id"] == "adder:2"
    revision = http.world.services.catalog.resolve("adder:2").revision
    assert (revision.signature.max_batch_size, revision.queue_delay_us) == (4, 200)


async def test_t_rest_03_a_version_is_a_revision(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(text_revision("coder"), text_revision("coder", 2)))
    assert (await load(http, config={"version": 2}))[1]["model_id"] == "coder:2"
    assert http.world.triton.loaded == {"coder--r2"}
    assert (await load(http, "coder:1", config={"version": 2}))[0] == 400


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"config": {"colour": "red"}}, "colour"),
        ({"config": {"device": "tpu"}}, "device"),
        ({"config": {"dtype": 7}}, "dtype"),
        ({"config": {"dtype": "float16"}}, "float16"),
        ({"config": {"instance_count": 0}}, "instance_count"),
        ({"config": {"instance_count": 1.5}}, "instance_count"),
        ({"config": {"instance_count": True}}, "instance_count"),
        ({"config": {"max_batch_size": "-1"}}, "max_batch_size"),
        ({"config": {"max_batch_size": [1]}}, "max_batch_size"),
        ({"config": {"dynamic_batching_delay_us": "soon"}}, "dynamic_batching_delay_us"),
        ({"config": {"timeout_seconds": 0}}, "timeout_seconds"),
        ({"config": {"timeout_seconds": "inf"}}, "timeout_seconds"),
        ({"config": {"version": "latest"}}, "version"),
        ({"config": {"backend": "pytorch"}}, "backend"),
        ({"model_type": "diffusion"}, "transformer"),
        ({"model_type": "llm"}, "model_type"),
    ],
)
async def test_t_rest_03_a_wrong_config_is_refused_by_name(http: Served, body: dict[str, Any], named: str) -> None:
    status, answer = await load(http, **body)
    assert (status, answer["code"]) == (400, "INVALID_REQUEST")
    assert named in str(answer)


async def test_t_rest_03_a_gpu_that_is_not_there_is_not_supported_here(serve_http: ServeHttp) -> None:
    http = await serve_http()
    status, answer = await load(http, config={"device": "cuda"})
    assert (status, answer["code"], answer["details"]["requires"]) == (501, "NOT_SUPPORTED_HERE", ["nvidia_gpu"])


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EngineFailed("Triton says: no such op"), 500, "PROCESSING_FAILED"),
        (TimedOut("not loaded in 300 s"), 504, "TIMEOUT"),
        (Unavailable("Triton is starting", retry_after_seconds=1), 503, "PIPELINE_UNAVAILABLE"),
    ],
)
async def test_t_rest_03_a_failure_inside_triton_is_told_with_its_reason(
    serve_http: ServeHttp, error: Any, status: int, code: str
) -> None:
    world = await unloaded()
    world.triton.refusals["coder--r1"] = error
    http = await serve_http(world)
    answer = await load(http)
    assert (answer[0], answer[1]["code"], answer[1]["error"]) == (status, code, error.message)
    model = (await http.client.get("/models/coder", headers=http.viewer)).json()
    assert (model["status"], model["state"], model["last_error"]) == ("unloaded", "failed", error.message)


async def test_t_rest_05_an_unload_leaves_the_package_and_may_be_repeated(serve_http: ServeHttp) -> None:
    http = await serve_http()
    for _ in range(2):
        reply = await http.client.delete("/models/coder", headers=http.admin)
        assert (reply.status_code, reply.json()) == (200, {"success": True})
        assert (await http.client.get("/models/coder", headers=http.viewer)).json()["status"] == "unloaded"
    assert http.world.triton.loaded == {"adder--r1"}


async def test_t_rest_05_a_purge_deletes_what_was_imported_and_refuses_what_ships(serve_http: ServeHttp) -> None:
    http = await serve_http()
    reply = await http.client.delete("/models/coder?purge=true", headers=http.admin)
    assert (reply.status_code, reply.json()["code"]) == (409, "CONFLICT")
    files = {"file": ("m.onnx", b"x")}
    await http.client.post("/models/own/import", files=files, headers=http.admin)
    assert (await http.client.delete("/models/own?purge=true", headers=http.admin)).json() == {"success": True}
    assert (await http.client.get("/models/own", headers=http.viewer)).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_t_rest_01_health_is_one_body_for_three_apis(serve_http: ServeHttp, path: str) -> None:
    http = await serve_http()
    http.world.services.health.grpc_serves = True
    http.world.clock.advance(12.5)
    reply = await http.client.get(path)
    assert (reply.status_code, reply.json()) == (
        200,
        {
            "status": "healthy",
            "timestamp": "2026-11-21T12:00:12.500Z",
            "version": "1.0.0",
            "uptime": 12.5,
            "services": {
                "database": "healthy",
                "redis": "not_configured",
                "gpu": "not_present",
                "triton": "healthy",
                "grpc": "healthy",
            },
            "service": "llmgine-api",
            "aliases": ["web-api"],
        },
    )


async def test_t_rest_01_health_is_503_while_triton_or_the_database_is_down(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.server.state = TritonState.DEGRADED
    assert (await http.client.get("/health")).json()["status"] == "degraded"
    http.world.server.state = TritonState.CRASHED
    reply = await http.client.get("/health")
    assert (reply.status_code, reply.json()["code"]) == (503, "PIPELINE_UNAVAILABLE")
    assert reply.json()["details"]["services"]["triton"] == "unhealthy"
    http.world.server.state = TritonState.READY
    http.world.database.failure = Unavailable("locked")
    reply = await http.client.get("/v1/health")
    assert (reply.status_code, reply.json()["details"]["services"]["database"]) == (503, "unhealthy")


ASK = {"model_id": "coder", "input_data": {"text": "a b"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/health", None, 200),
        ("GET", "/models", None, 200),
        ("GET", "/models?status=x", None, 400),
        ("POST", "/models", {"model_name": "coder"}, 200),
        ("POST", "/models", {}, 400),
        ("GET", "/models/coder", None, 200),
        ("GET", "/models/nobody", None, 404),
        ("DELETE", "/models/nobody", None, 404),
        ("POST", "/models/own/import", None, 400),
        ("POST", "/inference", ASK, 200),
        ("POST", "/inference/stream", ASK, 200),
        ("PUT", "/inference", ASK, 405),
        ("GET", "/nope", None, 404),
    ],
)
async def test_t_rest_16_every_route_answers_the_same_under_v1(
    http: Served, method: str, path: str, body: Any, status: int
) -> None:
    """The same but for what is measured, and for the path where a refusal names it."""
    replies = [
        await http.client.request(
            method,
            prefix + path,
            json=body,
            headers={**http.admin, "X-Request-ID": "same"} if path != "/health" else {},
        )
        for prefix in ("", "/v1")
    ]
    plain, mirrored = [SAID_ONCE.sub("", reply.text).replace("/v1", "") for reply in replies]
    assert [reply.status_code for reply in replies] == [status, status]
    assert replies[0].headers["Content-Type"] == replies[1].headers["Content-Type"]
    assert mirrored == plain


def test_every_kind_of_model_is_a_word_of_the_wire() -> None:
    assert {kind.value for kind in ModelKind} == {"transformer", "diffusion", "hybrid", "generic"}


async def test_a_state_that_changes_is_seen_at_once(serve_http: ServeHttp) -> None:
    http = await serve_http(await two_models())
    assert (await http.client.get("/models/coder", headers=http.viewer)).json()["status"] == "loaded"
    await http.world.services.models.unload("coder")
    assert (await http.client.get("/models/coder", headers=http.viewer)).json()["status"] == "unloaded"
