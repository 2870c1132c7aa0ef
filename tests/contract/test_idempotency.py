"""Idempotency-Key over HTTP (C-IDEM-01): which routes take it, who shares a key with whom, and what is told again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobFilter
from control_plane.domain.paging import Page
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served, serving
from tests.doubles.quotas import limited

OPTIMIZE = {"model_id": "coder", "optimization_level": "basic"}
LOAD = {"model_name": "coder", "model_type": "transformer", "config": {}}
KEYED = [
    "/models",
    "/optimize",
    "/models/{model_id}/import",
    "/models/{model_id}/export",
    "/native/v1/models/{name}/load",
    "/native/v1/models/{name}/revisions",
    "/native/v1/models/{name}/exports",
]


@pytest.fixture(scope="module")
async def jobs() -> AsyncIterator[Served]:
    """For tests that make jobs of their own under keys of their own."""
    async with serving(await two_models(), max_body_bytes=2048) as served:
        yield served


def keyed(key: str, headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Idempotency-Key": key}


async def job_count(http: Served) -> int:
    return (await http.world.services.jobs.list(JobFilter(), Page(1, 0))).total


async def test_c_idem_01_the_same_request_again_is_told_the_same_and_done_once(jobs: Served) -> None:
    headers, before = keyed("one", jobs.admin), await job_count(jobs)
    first = await jobs.client.post("/optimize", json=OPTIMIZE, headers=headers)
    assert (first.status_code, first.headers.get("Idempotent-Replayed")) == (200, None)
    again = await jobs.client.post("/optimize", json=OPTIMIZE, headers=headers)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert (again.content, again.headers["Content-Type"]) == (first.content, first.headers["Content-Type"])
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert await job_count(jobs) == before + 1


async def test_c_idem_01_without_a_key_each_request_counts(jobs: Served) -> None:
    first, second = [(await jobs.client.post("/optimize", json=OPTIMIZE, headers=jobs.admin)).json() for _ in range(2)]
    assert first["optimization_id"] != second["optimization_id"]


async def test_c_idem_01_another_body_or_query_under_the_key_is_a_conflict(jobs: Served) -> None:
    headers = keyed("two", jobs.admin)
    first = await jobs.client.post("/optimize", json=OPTIMIZE, headers=headers)
    other = await jobs.client.post("/optimize", json={**OPTIMIZE, "optimization_level": "expert"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")
    assert "Idempotency-Key" in other.json()["error"]
    queried = await jobs.client.post("/optimize?a=b", json=OPTIMIZE, headers=headers)
    assert queried.status_code == 409
    again = await jobs.client.post("/optimize", json=OPTIMIZE, headers=headers)
    assert again.content == first.content


async def test_c_idem_01_a_key_is_its_callers_own_and_its_routes_own(jobs: Served) -> None:
    first = await jobs.client.post("/optimize", json=OPTIMIZE, headers=keyed("three", jobs.admin))
    others = keyed("three", jobs.as_role("admin", "another"))
    another = await jobs.client.post("/optimize", json=OPTIMIZE, headers=others)
    mirrored = await jobs.client.post("/v1/optimize", json=OPTIMIZE, headers=keyed("three", jobs.admin))
    assert len({reply.json()["optimization_id"] for reply in (first, another, mirrored)}) == 3
    demoted = await jobs.client.post("/optimize", json=OPTIMIZE, headers=keyed("three", jobs.viewer))
    assert demoted.status_code == 403


async def test_c_idem_01_a_duplicate_waits_also_when_the_first_caller_leaves(serve_http: ServeHttp) -> None:
    http = await serve_http()
    triton = http.world.triton
    await http.world.services.models.unload("coder")
    triton.loads.clear()
    triton.loads_go_on.clear()
    headers = keyed("load", http.admin)
    async with httpx.AsyncClient(base_url=http.url) as leaving:
        first = asyncio.create_task(leaving.post("/models", json=LOAD, headers=headers))
        async with asyncio.timeout(10):
            while not triton.loads:  # noqa: ASYNC110 - the double does not tell
                await asyncio.sleep(0.001)
        second = asyncio.create_task(http.client.post("/models", json=LOAD, headers=headers))
        other = await http.client.post("/models", json={**LOAD, "model_name": "adder"}, headers=headers)
        assert other.status_code == 409  # at once
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert not second.done()
    triton.loads_go_on.set()
    waited = await second
    assert (waited.status_code, waited.headers["Idempotent-Replayed"]) == (200, "true")
    assert waited.json()["model_id"] == "coder"
    assert len(triton.loads) == 1


async def test_c_idem_01_a_failure_and_a_refusal_are_not_kept(serve_http: ServeHttp) -> None:
    http = await serve_http()
    await http.world.services.models.unload("coder")
    headers = keyed("load", http.admin)
    http.world.triton.refusals["coder--r1"] = EngineFailed("out of memory")
    failed = await http.client.post("/models", json=LOAD, headers=headers)
    assert failed.status_code == 500
    http.world.triton.refusals.clear()
    loaded = await http.client.post("/models", json=LOAD, headers=headers)
    assert (loaded.status_code, loaded.headers.get("Idempotent-Replayed")) == (200, None)
    absent = {**OPTIMIZE, "model_id": "absent"}
    for _ in range(2):
        refused = await http.client.post("/optimize", json=absent, headers=keyed("absent", http.admin))
        assert (refused.status_code, refused.headers.get("Idempotent-Replayed")) == (404, None)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "t\tb", "\xe9"])
async def test_c_idem_01_a_key_is_up_to_255_visible_characters(jobs: Served, key: str) -> None:
    headers = [*jobs.admin.items(), ("Idempotency-Key", key.encode("latin-1"))]
    refused = await jobs.client.post("/optimize", json=OPTIMIZE, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_REQUEST")
    assert "1 to 255 visible ASCII characters" in refused.json()["error"]
    longest = await jobs.client.post("/optimize", json=OPTIMIZE, headers=keyed("!~" * 127 + "x", jobs.admin))
    assert longest.status_code == 200


async def test_c_idem_01_an_upload_and_a_large_body_are_refused_with_a_key(jobs: Served) -> None:
    upload = await jobs.client.post(
        "/models/new/import", files={"file": ("m.onnx", b"x")}, headers=keyed("up", jobs.admin)
    )
    assert (upload.status_code, upload.json()["code"]) == (400, "INVALID_REQUEST")
    large = b"x" * 4096  # an upload may be larger; one that is held to be compared may not
    reply = await jobs.client.post("/models/new/import", content=large, headers=keyed("big", jobs.admin))
    assert reply.status_code == 413


async def test_c_idem_01_tokens_keys_and_inferences_take_no_key(jobs: Served) -> None:
    made = [
        (await jobs.client.post("/auth/keys", json={"name": "n", "role": "user"}, headers=keyed("k", jobs.admin)))
        for _ in range(2)
    ]
    assert made[0].json()["api_key"] != made[1].json()["api_key"]
    ask = {"model_id": "coder", "input_data": {"text": "a b"}}
    before = len(jobs.world.triton.requests)
    for _ in range(2):
        assert (await jobs.client.post("/inference", json=ask, headers=keyed("k", jobs.user))).status_code == 200
    assert len(jobs.world.triton.requests) == before + 2


async def test_c_idem_01_a_replay_is_counted_as_its_route(jobs: Served) -> None:
    for _ in range(2):
        await jobs.client.post("/native/v1/models/coder/load", headers=keyed("counted", jobs.admin))
    metrics = (await jobs.client.get("/metrics")).text
    route = 'dialect="native",method="POST",route="/native/v1/models/{name}/load",status="200"'
    assert f"tritonplane_http_requests_total{{{route}}} 2.0" in metrics


async def test_c_idem_01_a_key_that_is_refused_is_told_of_the_routes_quota(serve_http: ServeHttp) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    for key, body, status in (("a", LOAD, 200), ("a", {**LOAD, "config": {"version": "1"}}, 409), ("a b", LOAD, 400)):
        reply = await http.client.post("/models", json=body, headers=keyed(key, http.admin))
        assert (reply.status_code, reply.headers["X-RateLimit-Limit"]) == (status, "20")


async def test_c_rl_01_a_replay_counts_in_the_quota_as_the_request_that_it_repeats(serve_http: ServeHttp) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    replies = [await http.client.post("/models", json=LOAD, headers=keyed("a", http.admin)) for _ in range(21)]
    assert [reply.status_code for reply in replies] == [200] * 20 + [429]
    assert [int(reply.headers["X-RateLimit-Remaining"]) for reply in replies] == [*range(19, -1, -1), 0]
    assert replies[-1].headers["Retry-After"] == "60"
    world.clock.advance(60)
    again = await http.client.post("/models", json=LOAD, headers=keyed("a", http.admin))
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")


async def test_c_idem_01_the_document_says_where_it_is_taken(jobs: Served) -> None:
    document = (await jobs.client.get("/openapi.json")).json()
    taking = []
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            named = [parameter["name"] for parameter in entry.get("parameters", ())]
            if "Idempotency-Key" in named:
                taking.append(path)
                assert method == "post"
                assert "409" in entry["responses"]
    assert sorted(taking) == sorted(KEYED)
