"""Rate limits over HTTP: headers, classes, policies, what costs nothing, and who counts as whom (C-RL, T-RL)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from control_plane.domain.access import Role
from control_plane.domain.limits import LimitClass, Policy, Rate
from control_plane.edge.http.app import HttpConfig
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.doubles.quotas import limited
from tests.doubles.services import World

ASK = {"model_id": "coder", "input_data": {"text": "a b c"}}
TENSORS = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
Limited = Callable[..., Awaitable[Served]]


@pytest.fixture
def serve_limited(serve_http: ServeHttp) -> Limited:
    """A server under `policy` by the clock of its world."""

    async def serve(policy: str = "truthgpt", world: World | None = None, **config: Any) -> Served:
        world = world or await two_models()
        return await serve_http(world, quotas=limited(world.clock, policy, **config))

    return serve


def remaining(reply: httpx.Response) -> int:
    return int(reply.headers["X-RateLimit-Remaining"])


async def until_let_in(http: Served, headers: dict[str, str]) -> None:
    """A server learns a little later that a caller has left."""
    async with asyncio.timeout(30):
        while (await http.client.get("/models", headers=headers)).status_code != 200:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)


async def times(http: Served, count: int, method: str, path: str, **request: Any) -> list[httpx.Response]:
    return [await http.client.request(method, path, headers=http.admin, **request) for _ in range(count)]


async def test_c_rl_01_every_answer_says_the_limit_what_is_left_and_when_it_is_free(serve_limited: Limited) -> None:
    http = await serve_limited("standard")
    now_s = int(http.world.clock.seconds())
    for left, (method, path) in zip((5999, 5998), (("GET", "/auth/me"), ("GET", "/v1/optimizations")), strict=True):
        reply = await http.client.request(method, path, headers=http.admin)
        assert reply.status_code == 200
        assert reply.headers["X-RateLimit-Limit"] == "6000"
        assert reply.headers["X-RateLimit-Reset"] == str(now_s + 60)
        assert remaining(reply) == left


REFUSED = [
    ("GET", "/nope", None, 404),
    ("PUT", "/auth/me", None, 405),
    ("GET", "/models?limit=0", None, 400),
    ("POST", "/models", {"model_name": "coder"}, 403),
    ("GET", "/models/nobody", None, 404),
    ("POST", "/inference", {}, 400),
    ("POST", "/inference", {**ASK, "model_id": "nobody"}, 404),
    ("POST", "/inference/stream", {**ASK, "model_id": "nobody"}, 404),
    ("POST", "/v2/models/nobody/infer", TENSORS, 404),
    ("GET", "/native/v1/jobs/nobody", None, 404),
    ("GET", "/v1/nope", None, 404),
    ("GET", "/native/v1/nope", None, 404),
]


async def test_c_err_09_what_is_refused_before_the_quota_costs_none_and_tells_of_it(serve_limited: Limited) -> None:
    http = await serve_limited("ai-services")
    for method, path, body, status in REFUSED:
        reply = await http.client.request(method, path, json=body, headers=http.user)
        assert reply.status_code == status, path
        assert remaining(reply) == int(reply.headers["X-RateLimit-Limit"]), path
    spent = await http.client.post("/inference", json=ASK, headers=http.user)
    assert (spent.status_code, remaining(spent)) == (200, 99)


async def test_c_rl_01_who_is_nobody_learns_nothing_of_quotas(serve_limited: Limited) -> None:
    http = await serve_limited()
    for path in ("/models", "/nope", "/auth/me"):
        reply = await http.client.get(path)
        assert reply.status_code == 401
        assert "X-RateLimit-Limit" not in reply.headers


async def test_c_rl_07_public_routes_are_never_limited(serve_limited: Limited) -> None:
    tight = {"tight": Policy("tight", {limit: Rate(1, 60) for limit in LimitClass})}
    http = await serve_limited("tight", policies=tight, max_in_flight=1)
    paths = ("/health", "/v1/health", "/health/live", "/health/ready", "/metrics", "/docs", "/redoc", "/openapi.json")
    for path in paths:
        for _ in range(3):
            reply = await http.client.get(path, headers=http.admin)
            assert reply.status_code == 200, path
            assert "X-RateLimit-Limit" not in reply.headers


async def test_c_rl_07_metrics_are_not_limited_where_they_need_a_credential(serve_http: ServeHttp) -> None:
    world = await two_models()
    assert HttpConfig().metrics_auth is False
    tight = {"tight": Policy("tight", {LimitClass.DEFAULT: Rate(1, 60)})}
    http = await serve_http(world, quotas=limited(world.clock, "tight", policies=tight), metrics_auth=True)
    replies = await times(http, 3, "GET", "/metrics")
    assert [(reply.status_code, remaining(reply)) for reply in replies] == [(200, 1)] * 3


LIMITS = [
    ("T-RL-01", "POST", "/inference", ASK, 10, 60),
    ("T-RL-01", "POST", "/v1/inference/stream", ASK, 10, 60),
    ("T-RL-02", "POST", "/optimize", {"model_id": "adder", "optimization_level": "basic"}, 5, 300),
    ("T-RL-03", "GET", "/models", None, 20, 60),
    ("T-RL-03", "GET", "/v1/models/coder", None, 20, 60),
    ("T-RL-03", "POST", "/models", {"model_name": "coder"}, 20, 60),
    ("T-RL-04", "GET", "/optimizations", None, 100, 60),
]


@pytest.mark.parametrize(("item", "method", "path", "body", "limit", "window_s"), LIMITS)
async def test_t_rl_01_to_04_the_request_after_the_last_is_refused_until_the_window_has_moved(
    serve_limited: Limited, item: str, method: str, path: str, body: Any, limit: int, window_s: int
) -> None:
    http = await serve_limited()
    replies = await times(http, limit, method, path, json=body)
    assert [reply.status_code for reply in replies] == [200] * limit, (item, replies[0].text)
    assert [remaining(reply) for reply in replies] == list(range(limit - 1, -1, -1))
    assert {reply.headers["X-RateLimit-Limit"] for reply in replies} == {str(limit)}
    http.world.clock.advance(window_s - 7.5)
    (refused,) = await times(http, 1, method, path, json=body)
    assert (refused.status_code, refused.headers["Retry-After"], remaining(refused)) == (429, "8", 0)
    said = refused.json()
    assert said["error"] == "Rate limit exceeded"
    assert said["message"] == "Too many requests. Please try again later."
    assert (said["retry_after"], said["code"]) == (8, "RATE_LIMIT_EXCEEDED")
    assert said["details"]["limit"] == limit
    assert said["details"]["window_seconds"] == window_s
    http.world.clock.advance(8)
    (again,) = await times(http, 1, method, path, json=body)
    assert again.status_code == 200


async def test_c_rl_02_and_05_a_class_has_a_bucket_of_its_own(serve_limited: Limited) -> None:
    http = await serve_limited()
    await times(http, 21, "GET", "/models")
    (inference,) = await times(http, 1, "POST", "/inference", json=ASK)
    (default,) = await times(http, 1, "GET", "/auth/me")
    assert (inference.status_code, remaining(inference)) == (200, 9)
    assert (default.status_code, remaining(default)) == (200, 99)


async def test_c_rl_02_tensors_count_as_inference_too(serve_limited: Limited) -> None:
    http = await serve_limited()
    await times(http, 10, "POST", "/inference", json=ASK)
    (refused,) = await times(http, 1, "POST", "/v2/models/adder/infer", json=TENSORS)
    assert (refused.status_code, refused.json()) == (429, {"error": "Rate limit exceeded"})
    assert refused.headers["Retry-After"] == "60"


async def test_c_rl_02_reading_models_is_no_management_under_other_policies(serve_limited: Limited) -> None:
    http = await serve_limited("ai-services")
    (reply,) = await times(http, 1, "GET", "/models")
    assert reply.headers["X-RateLimit-Limit"] == "1000"


async def test_c_rl_03_under_standard_inference_is_not_counted_and_tells_of_the_default_bucket(
    serve_limited: Limited,
) -> None:
    http = await serve_limited("standard")
    await times(http, 1, "GET", "/auth/me")
    for reply in await times(http, 3, "POST", "/inference", json=ASK):
        assert (reply.status_code, reply.headers["X-RateLimit-Limit"], remaining(reply)) == (200, "6000", 5999)


async def test_c_rl_03_without_limits_there_are_no_headers_of_them(serve_limited: Limited) -> None:
    http = await serve_limited("unlimited")
    for reply in (*await times(http, 2, "GET", "/models"), *await times(http, 2, "POST", "/inference", json=ASK)):
        assert reply.status_code == 200
        assert not [name for name in reply.headers if name.startswith("x-ratelimit")]


async def test_c_rl_03_a_key_and_a_token_may_have_a_policy_of_their_own(serve_limited: Limited) -> None:
    http = await serve_limited("standard")
    wanted = {"name": "slow", "role": "user", "rate_limit_policy": "truthgpt"}
    key = (await http.client.post("/auth/keys", json=wanted, headers=http.admin)).json()["api_key"]
    reply = await http.client.post("/inference", json=ASK, headers={"X-API-Key": key})
    assert (reply.headers["X-RateLimit-Limit"], remaining(reply)) == ("10", 9)
    asked = {"sub": "lea", "role": "user", "rate_limit_policy": "ai-services"}
    token = (await http.client.post("/auth/token", json=asked, headers=http.admin)).json()["access_token"]
    reply = await http.client.post("/inference", json=ASK, headers={"Authorization": f"Bearer {token}"})
    assert (reply.headers["X-RateLimit-Limit"], remaining(reply)) == ("100", 99)


@pytest.mark.parametrize("path", ["/auth/keys", "/auth/token"])
async def test_c_rl_03_an_unknown_policy_is_refused_when_it_is_given_away(http: Served, path: str) -> None:
    wanted = {"name": "x", "role": "user", "rate_limit_policy": "gold"}
    body = wanted if path == "/auth/keys" else {**wanted, "name": None, "sub": "lea"}
    body = {name: value for name, value in body.items() if value}
    reply = await http.client.post(path, json=body, headers=http.admin)
    assert reply.status_code == 400
    said = reply.json()["error"]["message"]
    assert said == "no rate limit policy 'gold'; there are standard, truthgpt, ai-services, unlimited"


async def test_c_rl_04_an_api_with_objects_for_errors_says_it_in_one(serve_limited: Limited) -> None:
    http = await serve_limited("tight", policies={"tight": Policy("tight", {LimitClass.DEFAULT: Rate(1, 90)})})
    _, refused = await times(http, 2, "GET", "/native/v1/jobs")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "90")
    said = refused.json()["error"]
    assert said["code"] == "RATE_LIMIT_EXCEEDED"
    assert said["details"] == {"limit": 1, "window_seconds": 90, "retry_after_seconds": 90}


async def test_c_rl_05_each_caller_has_quotas_of_its_own(serve_limited: Limited) -> None:
    http = await serve_limited()
    await times(http, 10, "POST", "/inference", json=ASK)
    for subject, status in (("somebody", 429), ("somebody else", 200)):
        reply = await http.client.post("/inference", json=ASK, headers=http.as_role(Role.USER, subject))
        assert reply.status_code == status


async def test_c_rl_05_without_a_credential_a_caller_is_its_address(serve_limited: Limited) -> None:
    world = await two_models(anonymous_role=Role.USER)
    http = await serve_limited(world=world, trusted_proxies=("127.0.0.0/8",))

    async def ask(address: str) -> httpx.Response:
        return await http.client.post("/inference", json=ASK, headers={"X-Forwarded-For": f"6.6.6.6, {address}"})

    assert [remaining(await ask("1.2.3.4")) for _ in range(3)] == [9, 8, 7]
    assert remaining(await ask("1.2.3.5")) == 9
    me = await http.client.get("/auth/me", headers={"X-Forwarded-For": "1.2.3.4"})
    assert me.json()["sub"] == "ip:1.2.3.4"


async def test_c_rl_05_what_a_stranger_says_of_his_address_is_not_believed(serve_limited: Limited) -> None:
    http = await serve_limited(world=await two_models(anonymous_role=Role.USER))
    for number in range(3):
        reply = await http.client.post("/inference", json=ASK, headers={"X-Forwarded-For": f"1.2.3.{number}"})
        assert remaining(reply) == 9 - number
    assert (await http.client.get("/auth/me")).json()["sub"] == "ip:127.0.0.1"


async def test_c_rl_03_a_caller_has_only_so_many_requests_at_once_and_a_stream_is_one(serve_limited: Limited) -> None:
    http = await serve_limited("standard", max_in_flight=2)
    http.world.triton.hold_at = 1
    begun = http.client.stream("POST", "/inference/stream", json=ASK, headers=http.user)
    other = http.client.stream("POST", "/v1/inference/stream", json=ASK, headers=http.user)
    async with begun as first, other as second:
        assert (first.status_code, second.status_code) == (200, 200)
        for method, path in (("POST", "/inference"), ("GET", "/models")):
            refused = await http.client.request(method, path, json=ASK, headers=http.user)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert refused.json()["details"]["limit"] == 2
        somebody_else = await http.client.get("/models", headers=http.as_role(Role.USER, "other"))
        assert somebody_else.status_code == 200
    await until_let_in(http, http.user)


async def test_c_rl_03_a_stream_of_events_is_in_flight_until_it_is_left(serve_limited: Limited) -> None:
    http = await serve_limited("standard", max_in_flight=1)
    async with http.client.stream("GET", "/native/v1/events", headers=http.viewer) as events:
        assert events.headers["X-RateLimit-Remaining"] == "5999"
        refused = await http.client.get("/models", headers=http.viewer)
        assert (refused.status_code, remaining(refused)) == (429, 5999)
    await until_let_in(http, http.viewer)


async def test_c_rl_01_web_pages_may_read_the_headers(serve_http: ServeHttp) -> None:
    http = await serve_http(cors_origins=("https://ours.example",))
    reply = await http.client.get("/models", headers={**http.viewer, "Origin": "https://ours.example"})
    exposed = {name.strip() for name in reply.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"} <= exposed
