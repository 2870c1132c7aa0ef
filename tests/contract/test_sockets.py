"""Who may open a WebSocket of any API, how long, and what a hostile one can do: C-AUTH-08, C-ERR-04, T-WS-08."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import time
from contextlib import suppress

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from control_plane.domain.access import Claims, Principal, Role
from control_plane.edge.http.sockets.connection import QUEUE_CHARACTERS_MAX, QUEUE_MAX
from control_plane.edge.http.sockets.session import Session
from control_plane.edge.http.sockets.wire import CLOSING_S
from control_plane.services.access import NewKey
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.sockets import Socket, address, masked, open_socket, refusal, stuck

ADMIN = Principal("an admin", Role.ADMIN)


async def key_of(http: Served, role: Role = Role.USER) -> tuple[str, str]:
    """A new key's id and secret."""
    key, secret = await http.world.services.access.create_key(NewKey("of a test", role), ADMIN)
    return key.id, secret


def token(http: Served) -> str:
    return http.world.token(Role.USER)


async def answers(connected: Socket) -> bool:
    return (await connected.ask("ping"))["type"] == "pong"


async def test_t_ws_07_c_auth_08_a_socket_opens_with_the_headers_of_any_request(http: Served) -> None:
    _, secret = await key_of(http)
    for headers in (http.user, {"X-API-Key": secret}, {"Authorization": f"Bearer {secret}"}):
        async with open_socket(http, headers=headers) as connected:
            assert await answers(connected)


@pytest.mark.parametrize("path", ["/ws", "/v1/ws"])
async def test_c_auth_08_a_browser_says_who_it_is_in_the_query(http: Served, path: str) -> None:
    _, secret = await key_of(http)
    for query in (f"token={token(http)}", f"token={secret}", f"api_key={secret}"):
        async with open_socket(http, f"{path}?{query}", headers={}) as connected:
            assert await answers(connected)


async def test_c_auth_08_or_in_a_subprotocol_which_is_echoed(http: Served) -> None:
    offered = f"bearer.{token(http)}"
    async with open_socket(http, headers={}, subprotocols=["chat", offered]) as connected:
        assert connected.connection.subprotocol == offered
        assert await answers(connected)


async def test_c_auth_08_without_a_valid_credential_the_handshake_is_refused_with_401_in_our_words(
    http: Served,
) -> None:
    bad = {"Authorization": "Bearer tpk_wrong"}
    for path, headers in (
        ("/ws", {}),
        ("/ws?token=x.y.z", {}),
        ("/ws?api_key=no", {}),
        ("/v1/ws/inference/coder", bad),
    ):
        refused = await refusal(http, path, headers)
        assert refused.status_code == 401, path
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        told = json.loads(refused.body)
        assert told["code"] == "UNAUTHORIZED"
        assert told["details"]["request_id"] == refused.headers["X-Request-ID"]
        assert refused.headers["X-API-Version"] == "1.0.0"


async def test_c_auth_08_a_header_wins_over_the_query(http: Served) -> None:
    refused = await refusal(http, f"/ws?token={token(http)}", {"Authorization": "Bearer tpk_wrong"})
    assert refused.status_code == 401


async def test_a_path_without_a_socket_is_a_404_to_who_may_ask(http: Served) -> None:
    for path in ("/ws/nothing", "/inference", "/v1/ws/optimization"):
        refused = await refusal(http, path, http.user)
        assert (refused.status_code, json.loads(refused.body)["code"]) == (404, "NOT_FOUND")
        assert (await refusal(http, path, {})).status_code == 401


async def test_c_auth_06_inference_needs_more_than_a_viewer(http: Served) -> None:
    refused = await refusal(http, "/ws/inference/coder", http.viewer)
    assert (refused.status_code, json.loads(refused.body)["code"]) == (403, "FORBIDDEN")


async def test_c_id_01_a_socket_has_the_request_id_that_it_was_asked_for(http: Served) -> None:
    async with open_socket(http, headers={**http.user, "X-Request-ID": "mine-7"}) as connected:
        response = connected.connection.response
        assert response is not None
        assert response.headers["X-Request-ID"] == "mine-7"
        await connected.say("nonsense")
        assert (await connected.hear())["data"]["details"]["request_id"] == "mine-7"


async def test_a_plain_request_to_a_socket_is_a_404(http: Served) -> None:
    assert (await http.client.get("/ws", headers=http.user)).status_code == 404


async def test_a_stopping_server_opens_no_socket(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.services.health.stopping.set()
    refused = await refusal(http, "/ws", http.user)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert json.loads(refused.body)["code"] == "PIPELINE_UNAVAILABLE"


async def test_c_auth_14_anybody_may_open_one_where_the_operator_says_so_but_no_page_of_another_origin(
    serve_http: ServeHttp,
) -> None:
    world = await two_models(anonymous_role=Role.USER)
    http = await serve_http(world, cors_origins=("https://friend.example",))
    for origin in (None, http.url, "https://friend.example"):
        async with open_socket(http, headers={}, origin=origin) as connected:
            assert await answers(connected)
    for origin in ("https://foe.example", "null"):
        refused = await refusal(http, "/ws", {}, origin=origin)
        assert (refused.status_code, json.loads(refused.body)["code"]) == (403, "FORBIDDEN")
        async with open_socket(http, origin=origin) as connected:  # with a credential of its own it is no accident
            assert await answers(connected)


async def test_a_socket_is_closed_when_its_token_expires(serve_http: ServeHttp) -> None:
    http = await serve_http()
    soon = http.world.credentials.sign(Claims("somebody", Role.USER, time.time() + 1.5))
    async with open_socket(http, headers={"Authorization": f"Bearer {soon}"}) as connected:
        assert await answers(connected)
        assert await connected.hear_close() == 4401


async def test_c_auth_13_a_deleted_key_opens_nothing_and_what_it_had_opened_says_no_more(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    key_id, secret = await key_of(http)
    async with open_socket(http, headers={"X-API-Key": secret}) as connected:
        assert await answers(connected)
        await http.world.services.access.delete_key(key_id, ADMIN)
        await connected.say("ping")
        assert await connected.hear_error() == "UNAUTHORIZED"
        assert await connected.hear_close() == 4401
    assert (await refusal(http, "/ws", {"X-API-Key": secret})).status_code == 401


async def test_x_met_01_handshakes_are_counted_by_route_and_open_sockets_as_they_are(serve_http: ServeHttp) -> None:
    http = await serve_http()
    async with open_socket(http, "/v1/ws/inference/coder"):
        assert "tritonplane_websockets_open 1.0" in (await http.client.get("/metrics")).text
    await refusal(http, "/ws", {})
    metrics = (await http.client.get("/metrics")).text
    counted = 'tritonplane_http_requests_total{dialect="truthgpt",method="WEBSOCKET",'
    assert counted + 'route="/v1/ws/inference/{model_id}",status="101"} 1.0' in metrics
    assert counted + 'route="/ws",status="401"} 1.0' in metrics


async def test_c_err_04_what_is_wrong_is_told_and_the_socket_goes_on(http: Served) -> None:
    async with open_socket(http) as connected:
        for text, code in (
            ("not json", "INVALID_JSON"),
            ("", "INVALID_JSON"),
            ('{"type": "ping", "more": ' + "[" * 100_000, "INVALID_JSON"),
            (b'{"type": "ping"}', "INVALID_JSON"),
            ("[]", "VALIDATION_ERROR"),
            ("null", "VALIDATION_ERROR"),
            ("{}", "VALIDATION_ERROR"),
            ('{"type": 5}', "VALIDATION_ERROR"),
            ('{"type": "subscribe_optimization"}', "VALIDATION_ERROR"),
            ('{"type": "subscribe_inference", "model_id": 5}', "VALIDATION_ERROR"),
            ('{"type": "start_inference"}', "INVALID_MESSAGE_TYPE"),  # of another socket
            ('{"type": "' + "x" * 100_000 + '"}', "INVALID_MESSAGE_TYPE"),
            ('{"type": "\\ud800"}', "INVALID_JSON"),
        ):
            await connected.connection.send(text)
            assert await connected.hear_error() == code, text[:50]
        assert await answers(connected)


async def test_ten_thousand_bad_messages_are_ten_thousand_errors(http: Served) -> None:
    async with open_socket(http) as connected:
        for _ in range(10):
            for _ in range(1000):
                await connected.connection.send("}")
            for _ in range(1000):
                assert await connected.hear_error() == "INVALID_JSON"
        assert await answers(connected)


async def test_a_frame_over_a_mebibyte_closes_the_socket_and_nothing_else(http: Served) -> None:
    async with open_socket(http) as other:
        async with open_socket(http) as connected:
            await connected.connection.send('{"type": "ping", "more": "' + "x" * (1024 * 1024 - 100) + '"}')
            assert (await connected.hear())["type"] == "pong"
        for size in (1024 * 1024 + 1, 64 * 1024 * 1024):
            async with open_socket(http) as connected:
                with suppress(ConnectionClosed):
                    await connected.connection.send("x" * size)
                assert await connected.hear_close() in (1009, 1006)  # cut where much of it was still on its way
        assert await answers(other)


async def test_a_message_in_many_frames_counts_as_one(http: Served) -> None:
    async with open_socket(http) as connected:
        await connected.connection.send(['{"type"', ': "pi', 'ng"}'])
        assert (await connected.hear())["type"] == "pong"
        with suppress(ConnectionClosed):
            await connected.connection.send(["x" * 600_000, "x" * 600_000])
        assert await connected.hear_close() == 1009


async def test_t_ws_08_a_client_that_does_not_read_is_closed_and_slows_nobody(serve_http: ServeHttp) -> None:
    http = await serve_http()
    triton = http.world.triton
    triton.repeat = 100_000
    start = json.dumps({"type": "start_inference", "input_data": "x" * 900})
    raw = await stuck(http, "/ws/inference/coder", start)
    try:
        async with open_socket(http) as other, asyncio.timeout(60):
            answered = 0
            while not triton.closed_early:
                assert await answers(other)
                answered += 1
            assert answered > 100  # who is slowed by it waits until it is closed
            # Nor is it kept: its connection is cut when it has not read the rest in a while.
            while len(http.server.server_state.connections) > 1:  # noqa: ASYNC110 - uvicorn does not tell
                await asyncio.sleep(0.05)
    finally:
        raw.close()


async def test_t_ws_08_long_messages_that_are_not_read_end_it_before_they_fill_the_memory(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    http.server.config.ws_ping_interval = None  # its silence would end it too, later
    frame = masked(json.dumps({"type": "unsubscribe_optimization", "optimization_id": "x" * 1_000_000}))
    raw = await stuck(http, "/ws", '{"type": "ping"}')
    try:
        with suppress(ConnectionError):
            for _ in range(2 * QUEUE_CHARACTERS_MAX // len(frame)):
                await asyncio.to_thread(raw.sendall, frame)
        async with asyncio.timeout(60):
            while http.server.server_state.connections:  # noqa: ASYNC110 - uvicorn does not tell
                await asyncio.sleep(0.05)
    finally:
        raw.close()


async def test_nothing_is_left_of_a_socket_that_was_closed(serve_http: ServeHttp) -> None:
    http = await serve_http()
    gc.collect()
    gc.disable()  # what only the collector finds may wait for it for hours
    try:
        async with open_socket(http) as connected:
            assert await answers(connected)
            assert sum(isinstance(one, Session) for one in gc.get_objects()) == 1
        async with asyncio.timeout(30):
            while http.server.server_state.connections:  # noqa: ASYNC110 - uvicorn does not tell
                await asyncio.sleep(0.01)
            while any(isinstance(one, Session) for one in gc.get_objects()):  # noqa: ASYNC110 - nor does Python
                await asyncio.sleep(0.1)
    finally:
        gc.enable()


async def test_t_ws_08_a_client_that_reads_too_late_finds_why(serve_http: ServeHttp) -> None:
    http = await serve_http()
    triton = http.world.triton
    triton.repeat = 100_000
    async with connect(
        address(http, "/ws/inference/coder"), additional_headers=http.user, proxy=None, max_queue=1
    ) as connection:
        late = Socket(connection)
        await late.say("start_inference", input_data="x" * 900)
        await asyncio.wait_for(triton.was_closed_early.wait(), 60)
        assert await late.hear_close() == 1013
    assert QUEUE_MAX == 1000


async def test_a_client_that_has_vanished_is_noticed_by_its_silence(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.server.config.ws_ping_interval = http.server.config.ws_ping_timeout = 0.1
    http.world.triton.hold_at = 0
    start = json.dumps({"type": "start_inference", "input_data": "a"})
    raw = await stuck(http, "/ws/inference/coder", start)  # it never answers a ping
    await asyncio.wait_for(http.world.triton.was_closed_early.wait(), 30)
    async with asyncio.timeout(CLOSING_S + 20):
        while http.server.server_state.connections:  # noqa: ASYNC110 - uvicorn does not tell
            await asyncio.sleep(0.02)
    raw.close()


@pytest.mark.parametrize("seed", range(5))
async def test_noise_after_the_handshake_ends_that_socket_alone(serve_http: ServeHttp, seed: int) -> None:
    http = await serve_http()
    noise = random.Random(seed)
    async with open_socket(http) as other:
        for _ in range(10):
            raw = await stuck(http, "/ws", '{"type": "ping"}')
            with suppress(ConnectionError):
                raw.sendall(noise.randbytes(5000))
            raw.shutdown(socket.SHUT_WR)
            raw.close()
        assert await answers(other)
    async with asyncio.timeout(CLOSING_S + 20):
        while len(http.server.server_state.connections) > 1:  # noqa: ASYNC110 - uvicorn does not tell
            await asyncio.sleep(0.02)


async def test_half_a_handshake_and_half_a_frame_hold_nothing_up(http: Served) -> None:
    port = httpx.URL(http.url).port
    half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    for _, writer in half:
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
    begun = await stuck(http, "/ws", '{"type": "ping"}')
    begun.sendall(bytes([0x81, 0x80 | 100]))  # the rest never comes
    async with open_socket(http) as connected:
        assert await answers(connected)
    begun.close()
    for _, writer in half:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: !\r\nSec-WebSocket-Version: 13",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nX-Long: " + "x" * 20_000,
        "\r\n".join(["Upgrade: websocket", "Connection: Upgrade", *[f"X-{n}: y" for n in range(500)]]),
    ],
    ids=["no key", "a bad key", "a long header", "many headers"],
)
async def test_a_handshake_that_is_none_is_refused(http: Served, head: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(http.url).port)
    writer.write(f"GET /ws HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
    status = (await asyncio.wait_for(reader.readline(), 30)).split()[1]
    assert 400 <= int(status) < 500
    writer.close()
    async with open_socket(http) as connected:
        assert await answers(connected)
