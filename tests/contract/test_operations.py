"""Metrics (X-MET-01) and documents (T-REST-17), and that every route keeps the rules of routes."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from typing import Any, get_args, get_type_hints

import pytest
from prometheus_client.parser import text_string_to_metric_families

from control_plane.dialects.http import DIALECTS
from control_plane.domain.errors import EngineFailed, Unavailable
from control_plane.edge.http.routing import Needs
from tests.contract.conftest import two_models
from tests.contract.served import Served, serving

KINDS = {"js": "text/javascript", "css": "text/css", "png": "image/png"}
ASK = {"model_id": "coder", "input_data": {"text": "a b c"}}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_x_met_01_requests_and_inferences_are_counted_and_tritons_own_numbers_follow() -> None:
    async def triton_metrics() -> str:
        return '# TYPE nv_inference_count counter\nnv_inference_count{model="coder--r1"} 7\n'

    world = await two_models()
    async with serving(world, triton_metrics=triton_metrics) as http:
        for _ in range(3):
            await http.client.post("/inference", json=ASK, headers=http.user)
        await http.client.post("/v1/inference/stream", json=ASK, headers=http.user)
        world.triton.fail_at = (0, EngineFailed("it broke"))
        await http.client.post("/inference", json=ASK, headers=http.user)
        too_long = {**ASK, "input_data": {"text": "x" * 2000}}
        assert (await http.client.post("/inference", json=too_long, headers=http.user)).status_code == 400
        for name in ("coder", "nobody"):
            await http.client.get(f"/models/{name}", headers=http.viewer)
        await http.client.get("/secret-id-1", headers=http.viewer)
        reply = await http.client.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    seen = samples(reply.text)

    def requests(dialect: str, method: str, route: str, status: int) -> float:
        labels = {"dialect": dialect, "method": method, "route": route, "status": str(status)}
        return seen[("tritonplane_http_requests_total", tuple(sorted(labels.items())))]

    model = (("model", "coder"),)
    assert requests("truthgpt", "POST", "/inference", 200) == 3
    assert requests("truthgpt", "POST", "/inference", 500) == 1
    assert requests("truthgpt", "POST", "/v1/inference/stream", 200) == 1
    assert requests("truthgpt", "GET", "/models/{model_id}", 200) == 1
    assert requests("truthgpt", "GET", "/models/{model_id}", 404) == 1
    assert requests("truthgpt", "GET", "unmatched", 404) == 1
    assert seen[("tritonplane_inference_seconds_count", model)] == 4
    assert seen[("tritonplane_inference_seconds_bucket", (("le", "+Inf"), *model))] == 4
    assert seen[("tritonplane_tokens_generated_total", model)] == 12
    assert seen[("tritonplane_inference_failures_total", model)] == 1
    assert seen[("tritonplane_inference_refusals_total", model)] == 1
    assert seen[("tritonplane_inferences_in_flight", model)] == 0
    assert seen[("tritonplane_triton_state", (("state", "ready"),))] == 1
    loaded = (("model", "coder"), ("revision", "1"), ("state", "loaded"))
    assert seen[("tritonplane_model_state", loaded)] == 1
    assert 'nv_inference_count{model="coder--r1"} 7' in reply.text
    assert "secret-id" not in reply.text
    assert "nobody" not in reply.text


async def test_x_met_01_our_numbers_are_there_while_triton_is_not() -> None:
    async def triton_metrics() -> str:
        raise Unavailable("Triton is crashed")

    async with serving(await two_models(), triton_metrics=triton_metrics) as http:
        reply = await http.client.get("/metrics")
    assert reply.status_code == 200
    assert "tritonplane_uptime_seconds" in reply.text
    assert "Triton is crashed" in reply.text
    assert samples(reply.text)


async def test_x_met_01_a_caller_who_leaves_is_counted_as_such() -> None:
    world = await two_models()
    world.triton.hold_at = 1
    async with serving(world) as http:
        async with http.client.stream("POST", "/inference/stream", json=ASK, headers=http.user) as reply:
            await anext(reply.aiter_lines())
        await world.triton.was_closed_early.wait()
        text = (await http.client.get("/metrics")).text
    assert 'route="/inference/stream",status="499"} 1.0' in text


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_t_rest_17_the_documentation_is_a_page_that_needs_no_internet(http: Served, path: str) -> None:
    page = await http.client.get(path)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "/openapi.json" in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    loaded = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) > 1
    for address in loaded:
        assert address.startswith("/"), address
        reply = await http.client.get(address)
        assert reply.status_code == 200
        assert len(reply.content) > 1000
        assert reply.headers["Content-Type"].split(";")[0] == KINDS[address.rpartition(".")[2]]


async def test_t_rest_17_the_truthgpt_document_has_its_title_version_and_paths(http: Served) -> None:
    document = (await http.client.get("/v1/openapi.json")).json()
    assert document["info"]["title"] == "TruthGPT Optimization API"
    assert document["info"]["version"] == "1.0.0"
    assert document["servers"] == [{"url": "/v1"}]
    assert set(document["paths"]) == {
        "/health",
        "/models",
        "/models/{model_id}",
        "/models/{model_id}/export",
        "/models/{model_id}/import",
        "/models/{model_id}/metrics",
        "/exports/{export_id}/download",
        "/optimize",
        "/optimize/{optimization_id}",
        "/optimize/{optimization_id}/cancel",
        "/optimize/{optimization_id}/evidence",
        "/optimizations",
        "/optimizations/{optimization_id}/results",
        "/inference",
        "/inference/stream",
    }
    assert document["security"] == [{"BearerAuth": []}, {"ApiKeyAuth": []}], "one of the two is enough (C-AUTH-03)"
    schemes = document["components"]["securitySchemes"]
    assert schemes["BearerAuth"] == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    assert schemes["ApiKeyAuth"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    schemas = document["components"]["schemas"]
    assert {"model_id", "name", "type", "parameters", "size_bytes", "device", "dtype", "status"} <= set(
        schemas["ModelInfo"]["properties"]
    )
    assert {"text", "max_length", "temperature", "top_p"} <= set(schemas["InputData"]["properties"])
    assert schemas["InferenceRequest"]["required"] == ["model_id", "input_data"]


async def test_t_rest_17_a_document_promises_only_what_happens(http: Served) -> None:
    document = (await http.client.get("/openapi.json")).json()
    assert {"/v2/models/{model}/infer", "/auth/token", "/native/v1/models/{name}/revisions", "/metrics"} <= set(
        document["paths"]
    )
    references = set()
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            assert "422" not in entry["responses"], path
            assert {"500", "503"} <= set(entry["responses"])
            references |= set(_references(entry))
            guarded = entry.get("security") != []
            reply = await http.client.request(method, path.replace("{", "").replace("}", ""), headers={})
            assert (reply.status_code == 401) is guarded, path
    names = set(document["components"]["schemas"])
    for name in list(names):
        references |= set(_references(document["components"]["schemas"][name]))
    assert {reference.rpartition("/")[2] for reference in references} <= names


# The statuses of each operation beside 500 and 503, which any may have, and 429, which all but the public ones have.
STATUSES = {
    ("get", "/health"): {200},
    ("get", "/health/ready"): {200},
    ("get", "/health/live"): {200},
    ("get", "/metrics"): {200},
    ("get", "/models"): {200, 400, 401},
    ("post", "/models"): {200, 400, 401, 403, 404, 409, 413, 501, 504},
    ("get", "/models/{model_id}"): {200, 400, 401, 404},
    ("delete", "/models/{model_id}"): {200, 400, 401, 403, 404, 409, 501, 504},
    ("get", "/models/{model_id}/metrics"): {200, 400, 401, 404},
    ("post", "/models/{model_id}/export"): {200, 400, 401, 403, 404, 409, 501, 504},
    ("get", "/exports/{export_id}/download"): {200, 206, 400, 401, 403, 404, 416},
    ("post", "/optimize"): {200, 400, 401, 403, 404, 409, 413, 501},
    ("get", "/optimize/{optimization_id}"): {200, 400, 401, 404},
    ("delete", "/optimize/{optimization_id}"): {200, 400, 401, 403, 404, 409},
    ("post", "/optimize/{optimization_id}/cancel"): {200, 400, 401, 403, 404, 409},
    ("get", "/optimize/{optimization_id}/evidence"): {200, 400, 401, 404},
    ("get", "/optimizations"): {200, 400, 401},
    ("get", "/optimizations/{optimization_id}/results"): {200, 202, 400, 401, 404},
    ("post", "/models/{model_id}/import"): {200, 400, 401, 403, 409, 413, 501, 504},
    ("post", "/inference"): {200, 400, 401, 403, 404, 409, 413, 504},
    ("post", "/inference/stream"): {200, 400, 401, 403, 404, 409, 413, 504},
    ("post", "/v2/models/{model}/infer"): {200, 400, 401, 403, 404, 409, 413, 501, 504},
    ("post", "/v2/models/{model}/versions/{version}/infer"): {200, 400, 401, 403, 404, 409, 413, 501, 504},
    ("post", "/auth/token"): {200, 400, 401, 403, 413, 501},
    ("get", "/auth/me"): {200, 401},
    ("get", "/auth/keys"): {200, 401, 403},
    ("post", "/auth/keys"): {201, 400, 401, 403, 413},
    ("delete", "/auth/keys/{key_id}"): {204, 400, 401, 403, 404},
    ("get", "/native/v1/models/{name}/revisions"): {200, 400, 401, 404},
    ("post", "/native/v1/models/{name}/revisions"): {202, 400, 401, 403, 404, 409, 413, 501},
    ("post", "/native/v1/models/{name}/exports"): {202, 400, 401, 403, 404, 409, 501},
    ("post", "/native/v1/models/{name}/load"): {200, 400, 401, 403, 404, 409, 413, 501, 504},
    ("post", "/native/v1/models/{name}/unload"): {200, 400, 401, 403, 404, 501, 504},
    ("get", "/native/v1/jobs"): {200, 400, 401},
    ("get", "/native/v1/jobs/{job_id}"): {200, 400, 401, 404},
    ("get", "/native/v1/jobs/{job_id}/events"): {200, 204, 400, 401, 404},
    ("get", "/native/v1/jobs/{job_id}/log"): {200, 400, 401, 403, 404},
    ("post", "/native/v1/jobs/{job_id}/cancel"): {200, 400, 401, 403, 404, 409},
    ("get", "/native/v1/events"): {200, 400, 401},
    ("get", "/native/v1/catalog"): {200, 401, 501},
    ("get", "/admin/usage"): {200, 401, 403},
    ("get", "/admin/config"): {200, 401, 403},
    ("get", "/admin/audit"): {200, 400, 401, 403},
}


async def test_t_rest_17_an_operation_is_documented_with_every_status_it_can_have(http: Served) -> None:
    document = (await http.client.get("/openapi.json")).json()
    told = {
        (method, path): {int(status) for status in entry["responses"]} - {500, 503}
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
    }
    assert {at: statuses - {429} for at, statuses in told.items()} == STATUSES
    assert all((429 in statuses) == (401 in statuses) for statuses in told.values())
    assert all(entry.get("tags") for methods in document["paths"].values() for entry in methods.values())
    refused = document["paths"]["/models"]["post"]["responses"]["504"]
    assert refused["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}


async def test_t_rest_17_what_a_value_may_be_is_documented(http: Served) -> None:
    document = (await http.client.get("/v1/openapi.json")).json()
    query = {one["name"]: one["schema"] for one in document["paths"]["/models"]["get"]["parameters"]}
    assert query["status"]["anyOf"][0]["enum"] == ["loaded", "unloaded", "optimizing"]
    assert query["model_type"]["anyOf"][0] == {"$ref": "#/components/schemas/ModelKind"}
    assert (query["skip"]["minimum"], query["skip"]["default"]) == (0, 0)
    assert (query["limit"]["minimum"], query["limit"]["maximum"], query["limit"]["default"]) == (1, 1000, 100)
    options = document["components"]["schemas"]["InferenceRequest"]["properties"]
    assert (options["max_length"]["minimum"], options["max_length"]["maximum"]) == (1, 4096)
    assert (options["temperature"]["minimum"], options["temperature"]["maximum"]) == (0, 2)
    assert (options["top_p"]["exclusiveMinimum"], options["top_p"]["maximum"]) == (0, 1)
    for reference in (
        options["model_id"],
        document["components"]["schemas"]["LoadModelRequest"]["properties"]["model_name"],
        document["paths"]["/models/{model_id}"]["get"]["parameters"][0]["schema"],
    ):
        for good in ("coder", "coder:12", "coder@stable"):
            assert re.search(reference["pattern"], good)
        for bad in ("", "b$(touch x)", "coder:0", "coder@", "a" * 101):
            assert not re.search(reference["pattern"], bad)


def _references(entry: Any) -> list[str]:
    if isinstance(entry, dict):
        found = [entry["$ref"]] if isinstance(entry.get("$ref"), str) else []
        return found + [reference for value in entry.values() for reference in _references(value)]
    return [reference for value in entry for reference in _references(value)] if isinstance(entry, list) else []


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_route_is_public_or_says_who_may_call_it(dialect: Any) -> None:
    for route in dialect.routes.declared:
        endpoint = inspect.unwrap(route.endpoint)
        caller = get_type_hints(endpoint, include_extras=True).get("caller")
        if route.is_public:
            assert caller is None, route.path
        else:
            assert any(isinstance(part.dependency, Needs) for part in get_args(caller)[1:]), route.path


async def test_no_path_and_method_has_two_owners() -> None:
    services = (await two_models()).services
    owned = Counter(
        (route.method, mount + path)
        for dialect in DIALECTS
        for mount in dialect.mounts
        for route, path in [
            *((route, route.path) for route in dialect.routes.declared),
            *((route, route.template) for route in dialect.lean(services)),
        ]
    )
    assert [pair for pair, count in owned.items() if count > 1] == []
