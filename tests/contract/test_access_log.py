"""The access log (C-AUDIT-01): a line for every request that was wanted, and no credential in any (C-AUTH-09)."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.edge.access_log import redacted
from tests.contract.conftest import ServeHttp, two_models
from tests.doubles.lines import InMemoryLines

ASK = {"model_id": "coder", "input_data": {"text": "a very private prompt"}}
SHOWN = ("method", "path", "status", "who")


async def until(lines: InMemoryLines, count: int) -> None:
    async with asyncio.timeout(10):
        while len(lines.written) < count:  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.001)


async def test_c_audit_01_each_request_leaves_a_line_that_says_who_and_how_it_ended(serve_http: ServeHttp) -> None:
    lines = InMemoryLines()
    http = await serve_http(access_log=lines)
    await http.client.get("/health")
    await http.client.get("/models", params={"limit": 5}, headers={**http.viewer, "X-Request-ID": "mine-1"})
    await http.client.post("/inference", json=ASK, headers=http.user)  # a lean route
    await http.client.post("/inference/stream", json=ASK, headers=http.user)
    await http.client.get("/models")
    await http.client.get("/nope", headers=http.viewer)
    await until(lines, 6)
    assert [tuple(line[name] for name in SHOWN) for line in lines.written] == [
        ("GET", "/health", 200, None),
        ("GET", "/models", 200, "somebody"),
        ("POST", "/inference", 200, "somebody"),
        ("POST", "/inference/stream", 200, "somebody"),
        ("GET", "/models", 401, None),
        ("GET", "/nope", 404, "somebody"),
    ]
    asked = lines.written[1]
    assert (asked["query"], asked["request_id"], asked["peer"]) == ("limit=5", "mine-1", "127.0.0.1")
    assert all(line["took_ms"] > 0 and line["request_id"] for line in lines.written)


async def test_c_audit_01_a_stream_that_outlives_its_callers_token_still_says_whose_it_was(
    serve_http: ServeHttp,
) -> None:
    lines = InMemoryLines()
    http = await serve_http(access_log=lines)
    http.world.triton.hold_at = 1
    asking = asyncio.create_task(http.client.post("/inference/stream", json=ASK, headers=http.user))
    await http.world.triton.holding.wait()
    http.world.clock.advance(7200)
    http.world.triton.go_on.set()
    assert (await asking).status_code == 200
    await until(lines, 1)
    assert lines.written[0]["who"] == "somebody"


async def test_c_audit_01_who_has_no_credential_is_an_address_on_every_route(serve_http: ServeHttp) -> None:
    lines = InMemoryLines()
    http = await serve_http(await two_models(anonymous_role=Role.USER), access_log=lines)
    await http.client.get("/models")
    await http.client.post("/inference", json=ASK)
    await http.client.get("/health")
    await until(lines, 3)
    assert [line["who"] for line in lines.written] == ["ip:127.0.0.1", "ip:127.0.0.1", None]


async def test_c_audit_01_neither_bodies_nor_credentials_stand_in_it(serve_http: ServeHttp) -> None:
    lines = InMemoryLines()
    http = await serve_http(access_log=lines)
    token = http.world.token(Role.VIEWER)
    for query in (f"token={token}", f"%74oken={token}", f"a=b&TOKEN={token}", f"api_key={token}"):
        await http.client.get(f"/models?{query}")
    await http.client.post("/inference", json=ASK, headers=http.user)
    await until(lines, 5)
    written = json.dumps(lines.written, default=str)
    assert token not in written
    assert http.user["Authorization"] not in written
    assert "private" not in written
    # Only the first has a credential as we take it; the others are no reason to show what was meant as one.
    assert [line["status"] for line in lines.written] == [200, 401, 401, 401, 200]


async def test_c_audit_01_a_websocket_leaves_a_line_when_it_ends(serve_http: ServeHttp) -> None:
    lines = InMemoryLines()
    http = await serve_http(access_log=lines)
    address = http.url.replace("http:", "ws:") + "/ws"
    token = http.world.token(Role.USER, "alice")
    async with connect(f"{address}?token={token}") as socket:
        await socket.send('{"type": "ping"}')
        assert "pong" in str(await socket.recv())
    await until(lines, 1)
    with pytest.raises(InvalidStatus):
        await connect(address)
    await until(lines, 2)
    assert [tuple(line[name] for name in SHOWN) for line in lines.written] == [
        ("WEBSOCKET", "/ws", 101, "alice"),
        ("WEBSOCKET", "/ws", 401, None),
    ]
    assert lines.written[0]["query"] == "token=REDACTED"


async def test_c_audit_01_a_failure_is_logged_with_its_status(serve_http: ServeHttp) -> None:
    lines = InMemoryLines()
    world = await two_models()
    world.triton.answers_fail = EngineFailed("out of memory")
    http = await serve_http(world, access_log=lines)
    await http.client.post("/inference", json=ASK, headers=http.user)
    await until(lines, 1)
    assert lines.written[0]["status"] == 500


def test_c_auth_09_a_query_without_a_credential_stays_as_it_was_sent() -> None:
    assert redacted(b"a=1&b=%20&c") == "a=1&b=%20&c"
    assert redacted(b"a=1&token=x%26y&b=2") == "a=1&token=REDACTED&b=2"
    assert redacted(b"%61pi_key=x") == "api_key=REDACTED"
    assert redacted(b"query=%7Bmodel%7D&variables=%7B%7D") == "query=REDACTED&variables=REDACTED"
