"""Metrics over REST: T-REST-10."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.domain.generation import Generation
from control_plane.edge.times import rfc3339
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import make_world

ASK = {"model_id": "coder", "input_data": {"text": "a b c"}}
COUNTS = ("inference_count", "success_count", "error_count", "tokens_generated")
NUMBERS = {
    *COUNTS, "success_rate", "error_rate", "avg_inference_time", "p50_inference_time", "p95_inference_time",
    "p99_inference_time", "tokens_per_second", "avg_queue_time", "memory_usage_bytes", "gpu_utilization",
    "cache_hit_rate",
}  # fmt: skip


async def metrics(http: Served, model: str = "coder", prefix: str = "", **query: str) -> Any:
    reply = await http.client.get(f"{prefix}/models/{model}/metrics", params=query, headers=http.viewer)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_T_REST_10_inferences_of_every_kind_are_counted(serve_http: ServeHttp, prefix: str) -> None:
    http = await serve_http()
    await http.client.post("/inference", json=ASK, headers=http.user)
    await http.client.post("/v1/inference/stream", json=ASK, headers=http.user)
    http.world.triton.fail_at = (0, EngineFailed("it broke"))
    await http.client.post("/inference", json=ASK, headers=http.user)

    body = await metrics(http, prefix=prefix)

    assert set(body) == {"model_id", "start_time", "end_time", "metrics", "triton", "reasons"}
    numbers = body["metrics"]
    assert set(numbers) == NUMBERS
    assert [numbers[name] for name in COUNTS] == [3, 2, 1, 6]
    assert numbers["success_rate"] == pytest.approx(2 / 3)
    assert numbers["success_rate"] + numbers["error_rate"] == pytest.approx(1)
    assert 0 < numbers["p50_inference_time"] <= numbers["p95_inference_time"] <= numbers["p99_inference_time"]
    assert numbers["tokens_per_second"] > 0
    assert (numbers["memory_usage_bytes"], numbers["gpu_utilization"]) == (1_000_000, 0)
    assert body["triton"] == {"inference_count": 3, "execution_count": 3, "queue_us": 0, "compute_infer_us": 0}


async def test_T_REST_10_tensors_are_counted_too_and_give_no_tokens(serve_http: ServeHttp) -> None:
    http = await serve_http()
    tensor = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    await http.client.post("/v2/models/adder/infer", json={"inputs": [tensor]}, headers=http.user)
    body = await metrics(http, "adder")
    assert [body["metrics"][name] for name in COUNTS] == [1, 1, 0, 0]
    assert body["metrics"]["tokens_per_second"] is None
    assert body["reasons"]["tokens_per_second"] == "no tokens were generated in this period"


async def test_T_REST_10_by_default_the_last_24_hours_are_told(http: Served) -> None:
    body = await metrics(http)
    now = http.world.clock.now()
    assert (body["start_time"], body["end_time"]) == (rfc3339(now - timedelta(hours=24)), rfc3339(now))


async def test_T_REST_10_a_window_of_the_future_is_empty_and_every_null_has_its_reason(serve_http: ServeHttp) -> None:
    http = await serve_http()
    await http.client.post("/inference", json=ASK, headers=http.user)
    later = http.world.clock.now() + timedelta(hours=1)
    body = await metrics(http, start_time=rfc3339(later), end_time=rfc3339(later + timedelta(hours=1)))
    numbers = body["metrics"]
    assert [numbers[name] for name in COUNTS] == [0, 0, 0, 0]
    nulls = {name for name, value in numbers.items() if value is None}
    assert nulls == NUMBERS - {*COUNTS, "memory_usage_bytes", "gpu_utilization"}
    assert nulls == set(body["reasons"])
    assert body["reasons"]["cache_hit_rate"] == "answers are not cached"
    assert body["reasons"]["p99_inference_time"] == "no inference ended in this period"


async def test_T_REST_10_only_failures_have_an_error_rate_of_1_and_no_times(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (0, EngineFailed("it broke"))
    await http.client.post("/inference", json=ASK, headers=http.user)
    body = await metrics(http)
    numbers = body["metrics"]
    assert (numbers["success_rate"], numbers["error_rate"], numbers["avg_inference_time"]) == (0, 1, None)
    assert body["reasons"]["avg_inference_time"] == "no inference succeeded in this period"


async def test_T_REST_10_a_model_that_is_not_loaded_has_a_history_but_no_size(serve_http: ServeHttp) -> None:
    http = await serve_http()
    await http.client.post("/inference", json=ASK, headers=http.user)
    await http.world.services.models.unload("coder")
    body = await metrics(http)
    assert (body["metrics"]["inference_count"], body["metrics"]["memory_usage_bytes"], body["triton"]) == (
        1,
        None,
        None,
    )
    assert body["reasons"]["triton"] == "'coder' is not loaded"


async def test_T_REST_10_a_name_is_all_revisions_and_a_reference_one(serve_http: ServeHttp) -> None:
    world = await make_world(text_revision("coder"), text_revision("coder", 2), tensor_revision("adder"))
    for reference in ("coder", "coder:2"):
        await world.services.models.load(reference)
        await world.services.inference.generate(Generation(reference, "a"))
    http = await serve_http(world)
    found = {name: await metrics(http, name) for name in ("coder", "coder:1", "coder:2", "coder@stable")}
    assert {name: body["metrics"]["inference_count"] for name, body in found.items()} == {
        "coder": 2, "coder:1": 1, "coder:2": 1, "coder@stable": 1,
    }  # fmt: skip
    assert [body["model_id"] for body in found.values()] == ["coder", "coder:1", "coder:2", "coder:1"]


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("2026-11-21T12:00:00Z", "2026-11-21T11:59:59Z", "must not be after"),
        ("2026-11-21T13:00:00+02:00", "2026-11-21T12:30:00+02:00", "must not be after"),
        ("2026-11-21T12:00:00", None, "start_time is no RFC 3339 time"),
        ("2026-11-21", None, "start_time is no RFC 3339 time"),
        ("1795262400", None, "start_time is no RFC 3339 time"),
        (None, "2026-02-30T00:00:00Z", "end_time is no RFC 3339 time"),
        (None, "0001-01-01T00:00:00+12:00", "end_time is no RFC 3339 time"),
        (None, "", "end_time is no RFC 3339 time"),
        (None, "2026-11-21T12:00:00 02:00", "its '+' is %2B in a URL"),
        (None, "x" * 5000, "end_time is no RFC 3339 time"),
    ],
)
async def test_T_REST_10_a_wrong_period_is_refused_in_words(
    http: Served, start: str | None, end: str | None, says: str
) -> None:
    query = {name: value for name, value in (("start_time", start), ("end_time", end)) if value is not None}
    reply = await http.client.get("/models/coder/metrics", params=query, headers=http.viewer)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert says in reply.json()["error"]
    assert len(reply.json()["error"]) < 400


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-11-21t12:00:00.5z"])
async def test_T_REST_10_any_time_of_the_calendar_may_be_asked_for(http: Served, time: str) -> None:
    await metrics(http, end_time=time)
    await metrics(http, start_time=time, end_time=time)


async def test_T_REST_10_who_may_ask_and_for_what(http: Served) -> None:
    assert (await http.client.get("/models/coder/metrics")).status_code == 401
    for reference, status, code in [
        ("nobody", 404, "MODEL_NOT_FOUND"),
        ("coder:9", 404, "MODEL_NOT_FOUND"),
        ("b$(x)", 400, "INVALID_REQUEST"),
    ]:
        reply = await http.client.get(f"/models/{reference}/metrics", headers=http.viewer)
        assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_T_REST_10_seconds_that_are_closed_in_the_middle_of_traffic_lose_nothing(serve_http: ServeHttp) -> None:
    http = await serve_http()

    async def infer() -> None:
        await http.client.post("/inference", json=ASK, headers=http.user)

    async def close() -> None:
        await http.world.services.monitoring.close_second()

    await asyncio.gather(*(work() for _ in range(50) for work in (infer, close)))
    assert (await metrics(http))["metrics"]["inference_count"] == 50


async def test_T_REST_10_is_documented_with_its_schema_and_times(http: Served) -> None:
    document = (await http.client.get("/v1/openapi.json")).json()
    entry = document["paths"]["/models/{model_id}/metrics"]["get"]
    answer = entry["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/ModelMetricsResponse"}
    assert set(document["components"]["schemas"]["InferenceMetrics"]["properties"]) == NUMBERS
    formats = {one["name"]: one["schema"].get("format") for one in entry["parameters"] if one["in"] == "query"}
    assert formats == {"start_time": "date-time", "end_time": "date-time"}
