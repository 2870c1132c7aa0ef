"""What every HTTP answer carries, and what happens around requests: C-ID, C-VER, C-CORS, C-GZIP, C-TIME, C-PAGE."""

from __future__ import annotations

import asyncio
import json
import re
import socket

import httpx
import pytest

from control_plane.domain.errors import Unavailable
from control_plane.edge.http.server import listen
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served, serving
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world

ASK = {"model_id": "coder", "input_data": {"text": "a b c"}}
ROUTES = [
    ("GET", "/health"),
    ("GET", "/models"),
    ("GET", "/nope"),
    ("POST", "/inference"),
    ("POST", "/inference/stream"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_c_id_01_and_c_ver_01_every_answer_says_the_requests_id_and_the_api_version(
    http: Served, method: str, path: str
) -> None:
    body = ASK if method == "POST" else None
    for headers in ({}, http.admin):
        reply = await http.client.request(method, path, json=body, headers={**headers, "X-Request-ID": "my.id_1-a"})
        assert reply.headers["X-Request-ID"] == "my.id_1-a"
        assert reply.headers["X-API-Version"] == "1.0.0"
        own = await http.client.request(method, path, json=body, headers={**headers, "X-Request-ID": "not ok!"})
        assert re.fullmatch(r"req_[0-7][0-9A-HJKMNP-TV-Z]{25}", own.headers["X-Request-ID"])


async def test_c_cors_01_without_a_setting_no_origin_is_allowed(http: Served) -> None:
    headers = {**http.viewer, "Origin": "https://evil.example"}
    reply = await http.client.get("/models", headers=headers)
    assert "access-control-allow-origin" not in reply.headers
    preflight = await http.client.options("/models", headers={**headers, "Access-Control-Request-Method": "GET"})
    assert "access-control-allow-origin" not in preflight.headers


async def test_c_cors_01_a_listed_origin_is_allowed_and_a_foreign_one_is_not(serve_http: ServeHttp) -> None:
    http = await serve_http(cors_origins=("https://ours.example",))
    for path in ("/models", "/nope"):
        for origin, allowed in [("https://ours.example", "https://ours.example"), ("https://evil.example", None)]:
            reply = await http.client.get(path, headers={**http.viewer, "Origin": origin})
            assert reply.headers.get("access-control-allow-origin") == allowed
    asked = {"Origin": "https://ours.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization, x-request-id"
    asked["X-Request-ID"] = "mine-1"
    preflight = await http.client.options("/inference", headers=asked)
    assert preflight.status_code == 200
    assert (preflight.headers["X-Request-ID"], preflight.headers["X-API-Version"]) == ("mine-1", "1.0.0")
    refused = await http.client.options("/inference", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers


async def test_c_gzip_01_json_over_a_kilobyte_is_compressed_and_a_stream_never(http: Served) -> None:
    long = {"model_id": "coder", "input_data": {"text": "word " * 190}, "max_length": 400}
    for accept, encoding in [("gzip", "gzip"), ("identity", None)]:
        headers = {**http.user, "Accept-Encoding": accept}
        lean = await http.client.post("/inference", json=long, headers=headers)
        comfortable = await http.client.get("/openapi.json", headers=headers)
        for reply in (lean, comfortable):
            assert reply.status_code == 200
            assert reply.headers.get("content-encoding") == encoding
            assert reply.json()
    headers = {**http.user, "Accept-Encoding": "gzip"}
    for path in ("/health", "/auth/me"):
        assert "content-encoding" not in (await http.client.get(path, headers=headers)).headers
    assert "content-encoding" not in (await http.client.post("/inference/stream", json=long, headers=headers)).headers


@pytest.mark.parametrize(
    "query", ["skip=-1", "skip=9223372036854775808", "limit=0", "limit=1001", "skip=x", "limit=1.5", "limit="]
)
async def test_c_page_01_a_page_out_of_bounds_is_refused(http: Served, query: str) -> None:
    reply = await http.client.get(f"/models?{query}", headers=http.viewer)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")


async def test_c_page_01_pages_are_stable_and_the_total_counts_all(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world(*[tensor_revision(f"m{number}") for number in range(7)]))
    seen = []
    for skip in (0, 3, 6, 9):
        reply = await http.client.get("/models", params={"skip": skip, "limit": 3}, headers=http.viewer)
        assert reply.headers["X-Total-Count"] == "7"
        seen += [model["model_id"] for model in reply.json()]
    assert seen == [f"m{number}" for number in range(7)]


async def test_a_stopping_server_refuses_new_work_and_still_answers_reads(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.services.health.stopping.set()
    for path, body in [("/inference", ASK), ("/inference/stream", ASK), ("/models", {"model_name": "coder"})]:
        reply = await http.client.post(path, json=body, headers=http.admin)
        assert (reply.status_code, reply.json()["code"]) == (503, "PIPELINE_UNAVAILABLE")
        assert int(reply.headers["Retry-After"]) > 0
    assert (await http.client.get("/models", headers=http.viewer)).status_code == 200
    assert (await http.client.get("/health/ready")).status_code == 503
    assert (await http.client.get("/health/live")).status_code == 200


async def test_a_server_that_stops_lets_a_stream_finish() -> None:
    world = await two_models()
    world.triton.hold_at = 1
    async with serving(world) as http:
        request = http.client.stream("POST", "/inference/stream", json=ASK, headers=http.user)
        async with request as reply:
            lines = reply.aiter_lines()
            await anext(lines)
            stopping = asyncio.create_task(http.server.stop(10))
            await asyncio.sleep(0.05)
            assert not stopping.done()
            world.triton.go_on.set()
            rest = [line async for line in lines if line]
        await stopping
    assert rest[-1] == "data: [DONE]"
    assert not any("error" in line for line in rest)


async def test_a_stream_that_outlives_the_drain_is_told() -> None:
    world = await two_models()
    world.triton.hold_at = 1
    async with serving(world) as http:
        request = http.client.stream("POST", "/inference/stream", json=ASK, headers=http.user)
        async with request as reply:
            lines = reply.aiter_lines()
            assert await anext(lines) == 'data: {"token":"a","index":0}'
            await http.server.stop(0.05)
            rest = [line async for line in lines if line]
    assert "PIPELINE_UNAVAILABLE" in rest[0]
    assert rest[-1] == "data: [DONE]"
    assert world.triton.was_closed_early.is_set()


async def test_a_request_that_outlives_the_drain_gets_a_503() -> None:
    world = await two_models()
    world.triton.hold_at = 0
    async with serving(world) as http:
        asked = asyncio.create_task(http.client.post("/inference", json=ASK, headers=http.user))
        await world.triton.holding.wait()
        await http.server.stop(0.05)
        reply = await asked
    assert (reply.status_code, reply.json()["code"]) == (503, "PIPELINE_UNAVAILABLE")


async def test_a_comfortable_request_that_outlives_the_drain_gets_a_503() -> None:
    world = await two_models()
    checking = asyncio.Event()

    async def never() -> None:
        checking.set()
        await asyncio.Event().wait()

    world.database.check = never  # type: ignore[method-assign]
    async with serving(world) as http:
        asked = asyncio.create_task(http.client.get("/health"))
        await checking.wait()
        await http.server.stop(0.05)
        reply = await asked
    assert (reply.status_code, reply.json()["code"]) == (503, "PIPELINE_UNAVAILABLE")


async def test_a_busy_port_is_said_to_be_so() -> None:
    taken = listen("127.0.0.1", [0])
    port = taken[0].getsockname()[1]
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        listen("127.0.0.1", [0, port])
    taken[0].close()


async def test_one_connection_carries_requests_after_refused_ones(http: Served) -> None:
    limits = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(base_url=http.url, limits=limits) as client:
        for _ in range(3):
            big = await client.post("/inference", content=b"x" * 2_000_000, headers=http.user)
            assert big.status_code == 413
            assert (await client.post("/inference", json=ASK)).status_code == 401
            assert (await client.post("/inference", json=ASK, headers=http.user)).status_code == 200


async def test_a_failing_triton_is_told_with_when_to_come_back(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (0, Unavailable("the queue is full", retry_after_seconds=1.5))
    reply = await http.client.post("/inference", json=ASK, headers=http.user)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "2")


async def spoken(http: Served, request: str, until: bytes) -> bytes:
    """What the server says to these bytes, at least up to `until`."""
    host, port = http.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    said = b""
    async with asyncio.timeout(5):
        while until not in said:
            read = await reader.read(65_536)
            assert read, said
            said += read
    writer.close()
    await writer.wait_closed()
    return said


async def test_c_auth_08_a_websocket_is_refused_with_401_before_404(http: Served) -> None:
    request = "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    request += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    said = await spoken(http, f"{request}\r\n", b"}}")
    assert said.startswith(b"HTTP/1.1 401 ")
    key = http.viewer["Authorization"]
    said = await spoken(http, f"{request}Authorization: {key}\r\n\r\n", b"}}")
    assert said.startswith(b"HTTP/1.1 404 ")


async def test_nothing_is_read_of_a_body_that_is_too_large_when_the_caller_waits_for_a_word(http: Served) -> None:
    request = "POST /inference HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    said = await spoken(http, request, b"}}")
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in said


async def test_what_is_no_http_is_refused_and_the_server_lives(http: Served) -> None:
    for nonsense in ("\x16\x03\x01\x02\x00\r\n\r\n", "GET\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        said = await spoken(http, nonsense, b"}}")
        assert said.startswith(b"HTTP/1.1 400 ")
        head, _, body = said.partition(b"\r\n\r\n")
        error = json.loads(body)
        assert (error["code"], error["details"]["reason"]) == ("INVALID_REQUEST", "http")
        assert f"x-request-id: {error['details']['request_id']}".encode() in head
    assert (await http.client.get("/health")).status_code == 200


async def test_a_head_without_end_is_refused(http: Served) -> None:
    endless = "GET /health HTTP/1.1\r\nHost: x\r\nX-Padding: " + "a" * 1_000_000
    assert (await spoken(http, endless, b"}}")).startswith(b"HTTP/1.1 413 ")
    large = {"X-Padding": "a" * 30_000}
    assert (await http.client.get("/health", headers=large)).status_code == 200


async def test_a_reader_who_is_slow_holds_back_the_stream_and_nobody_else(serve_http: ServeHttp) -> None:
    world = await two_models()
    world.triton.repeat, world.triton.hold_at = 12_000, 95_999  # twelve megabytes, and then it waits
    http = await serve_http(world)
    words = " ".join(letter * 110 for letter in "abcdefgh")
    body = json.dumps({"model_id": "coder", "input_data": {"text": words}})
    head = f"POST /inference/stream HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = http.url.removeprefix("http://").split(":")
        await asyncio.get_running_loop().run_in_executor(None, slow.connect, (host, int(port)))
        slow.sendall(f"{head}Authorization: {http.user['Authorization']}\r\n\r\n{body}".encode())
        while not world.services.inference.tallies:  # noqa: ASYNC110 - the service has no event for it
            await asyncio.sleep(0.05)
        assert (await http.client.get("/health")).status_code == 200
        tally = world.services.inference.tallies["coder"]
        assert tally.in_flight == 1
        made = -1
        while made < world.triton.reached:  # until it is held back
            made = world.triton.reached
            await asyncio.sleep(0.05)
        assert not world.triton.holding.is_set(), "what the reader does not take is not made"
    await asyncio.wait_for(world.triton.was_closed_early.wait(), 5)
    assert tally.in_flight == 0


@pytest.mark.parametrize("path", ["/graphql", "/inference", "/models"])
async def test_a_caller_who_leaves_amid_his_body_is_no_bug(
    serve_http: ServeHttp, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    http = await serve_http()
    before = len(http.world.triton.requests)
    _, writer = await asyncio.open_connection(*http.url.removeprefix("http://").split(":"))
    told = f"Authorization: {http.admin['Authorization']}\r\nContent-Type: application/json\r\nContent-Length: 900\r\n"
    writer.write(f'POST {path} HTTP/1.1\r\nHost: x\r\n{told}\r\n{{"query"'.encode())
    await writer.drain()
    await http.client.get("/health")
    writer.transport.abort()
    counted = f'route="{path}",status="4'
    while counted not in (await http.client.get("/metrics")).text:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0.01)
    assert "unexpected failure" not in caplog.messages
    assert len(http.world.triton.requests) == before
