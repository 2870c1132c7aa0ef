"""A GraphQL WebSocket in either subprotocol: who is let in, and what closes it (C-AUTH-10)."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from control_plane.domain.access import Role
from control_plane.edge.graphql import sockets
from control_plane.edge.http.sockets.connection import QUEUE_CHARACTERS_MAX
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.sockets import masked, stuck
from tests.contract.truthgpt.graphql_client import STREAM, WORDS, Socket, begun, both, code, opened, stalled
from tests.doubles.quotas import limited
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world


@both
@pytest.mark.parametrize("name", ["Authorization", "authorization", "X-API-Key", "x-api-key"])
async def test_c_auth_10_the_credential_may_come_in_connection_init(
    serve_http: ServeHttp, protocol: str, name: str
) -> None:
    http = await serve_http()
    credential = f"Bearer {http.world.token(Role.VIEWER)}"
    if name.lower() == "x-api-key":
        made = await http.client.post("/auth/keys", json={"name": "k", "role": "viewer"}, headers=http.admin)
        credential = made.json()["api_key"]
    async with opened(http, protocol) as socket:
        assert await socket.begin(**{name: credential}) == {"type": "connection_ack"}
        await socket.start("{ models { name } }")
        assert len(await socket.results()) == 1
        await socket.start(STREAM, text="a")
        assert code(await socket.error()) == "FORBIDDEN"


@both
async def test_c_auth_08_a_browser_may_name_its_token_in_the_url_or_as_a_subprotocol(
    http: Served, protocol: str
) -> None:
    token = http.world.token(Role.USER)
    async with opened(http, protocol, path=f"/graphql?token={token}") as socket:
        assert await socket.begin() == {"type": "connection_ack"}
    url = http.url.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=[Subprotocol(f"bearer.{token}"), Subprotocol(protocol)]) as connection:
        assert connection.subprotocol == protocol
        socket = Socket(connection, protocol)
        assert await socket.begin() == {"type": "connection_ack"}
        await socket.start(STREAM, text="a")
        assert len(await socket.results()) == 1


@both
@pytest.mark.parametrize(
    ("payload", "close_code"),
    [
        ({}, 4401),
        ({"Authorization": "Bearer a.b.c"}, 4403),
        ({"Authorization": 5}, 4401),
        ({"X-API-Key": "tpk_nobody"}, 4403),
        ({"X-API-Key": "ключ"}, 4403),
    ],
)
async def test_c_auth_10_a_connection_without_a_valid_credential_is_closed(
    http: Served, protocol: str, payload: dict[str, object], close_code: int
) -> None:
    async with opened(http, protocol) as socket:
        await socket.say(type="connection_init", payload=payload)
        if protocol == "graphql-ws":
            told = await socket.hear()
            assert (told["type"], told["payload"]["code"]) == ("connection_error", "UNAUTHORIZED")
        assert (await socket.closed())[0] == close_code


@both
async def test_c_auth_10_a_wrong_credential_in_the_handshake_is_401(http: Served, protocol: str) -> None:
    for headers in ({"Authorization": "Bearer a.b.c"}, {"X-API-Key": "tpk_nobody"}):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(http, protocol, headers):
                pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"


@both
async def test_c_auth_10_a_deleted_key_begins_nothing_more(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    made = (await http.client.post("/auth/keys", json={"name": "k", "role": "user"}, headers=http.admin)).json()
    async with opened(http, protocol) as socket:
        await socket.begin(**{"X-API-Key": made["api_key"]})
        await http.client.delete(f"/auth/keys/{made['key_id']}", headers=http.admin)
        await socket.start("{ models { name } }")
        assert (await socket.closed())[0] == 4403


@both
async def test_c_auth_14_where_anybody_may_read_a_page_of_another_origin_still_may_not(
    serve_http: ServeHttp, protocol: str
) -> None:
    http = await serve_http(await two_models(anonymous_role=Role.ADMIN))
    async with opened(http, protocol) as socket:
        assert await socket.begin() == {"type": "connection_ack"}
    async with opened(http, protocol, {"Origin": "https://evil.example"}) as socket:
        await socket.say(type="connection_init")
        assert (await socket.closed())[0] == 4403


@both
async def test_nothing_runs_before_the_beginning(http: Served, protocol: str) -> None:
    async with opened(http, protocol, http.admin) as socket:
        await socket.start("{ models { name } }")
        assert (await socket.closed())[0] == 4401


@both
async def test_a_client_that_does_not_begin_is_let_go(
    http: Served, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "INIT_S", 0.05)
    async with opened(http, protocol, http.admin) as socket:
        assert await socket.closed() == (4408, "connection_init did not come")


@both
async def test_a_connection_has_only_so_many_operations(
    serve_http: ServeHttp, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "OPERATIONS_MAX", 3)
    http = await serve_http()
    http.world.triton.hold_at = 0
    async with begun(http, protocol) as socket:
        for name in "abcd":
            await socket.start(STREAM, name, text="a b")
        assert (await socket.closed())[0] == 4400


@both
async def test_a_second_beginning_and_a_second_operation_of_one_id_close_it(
    serve_http: ServeHttp, protocol: str
) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await socket.say(type="connection_init")
        assert (await socket.closed())[0] == 4429
    async with begun(http, protocol) as socket:
        await stalled(http, socket)
        await socket.start(STREAM, text="a b")
        assert await socket.closed() == (4409, "Subscriber for 1 already exists")
    async with asyncio.timeout(5):
        await http.world.triton.was_closed_early.wait()


@both
@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[]",
        "[" * 5000,
        '{"type": "colour"}',
        '{"type": "START", "id": "1", "payload": {"query": "\\ud800"}}',
        '{"type": ["connection_init"]}',
        '{"type": "connection_init", "payload": 5}',
        '{"type": "START", "id": 5, "payload": {}}',
        '{"type": "START", "payload": {"query": "{ models { name } }"}}',
        b"{}",
    ],
)
async def test_a_message_that_the_protocol_does_not_have_closes_it(
    http: Served, protocol: str, frame: str | bytes
) -> None:
    async with begun(http, protocol) as socket:
        if isinstance(frame, str):
            frame = frame.replace("START", WORDS[protocol]["start"])
        await socket.connection.send(frame)
        assert (await socket.closed())[0] == 4400


async def test_the_newer_protocol_answers_pings_and_the_older_one_can_be_terminated(http: Served) -> None:
    async with begun(http, "graphql-transport-ws") as socket:
        await socket.say(type="ping")
        assert await socket.hear() == {"type": "pong"}
        await socket.say(type="ping", payload={"n": 1})
        assert await socket.hear() == {"type": "pong", "payload": {"n": 1}}
        await socket.say(type="pong")
        await socket.stop("never started")
        await socket.say(type="ping")
        assert await socket.hear() == {"type": "pong"}
    async with begun(http, "graphql-ws") as socket:
        await socket.say(type="connection_terminate")
        assert (await socket.closed())[0] == 1000


async def test_a_client_without_a_subprotocol_is_told_which_there_are(http: Served) -> None:
    url = http.url.replace("http", "ws") + "/graphql"
    async with connect(url, additional_headers=http.admin) as connection:
        await connection.wait_closed()
        assert (connection.close_code, connection.close_reason) == (
            4406,
            "offer one of the subprotocols graphql-transport-ws, graphql-ws",
        )


@both
async def test_a_message_over_a_mebibyte_closes_it(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a" * 2**20)
        assert (await socket.closed())[0] == 1009


@both
async def test_c_rl_05_who_has_no_credential_is_counted_by_address(serve_http: ServeHttp, protocol: str) -> None:
    world = await two_models(anonymous_role=Role.USER)
    http = await serve_http(world, quotas=limited(world.clock, trusted_proxies=("127.0.0.1",)))
    for address, count in [("192.0.2.1", 10), ("192.0.2.2", 1)]:
        async with opened(http, protocol, {"X-Forwarded-For": address}) as socket:
            await socket.begin()
            for _ in range(count):
                await socket.start(STREAM, text="a")
                assert len(await socket.results()) == 1
            if count == 10:
                await socket.start(STREAM, text="a")
                assert code(await socket.error()) == "RATE_LIMIT_EXCEEDED"


@both
async def test_only_so_many_answers_wait_for_a_client_that_does_not_read(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http(await make_world(*[tensor_revision(f"m{number}") for number in range(20)]))
    http.server.config.ws_ping_interval = None  # its silence would end it too, later
    raw = await stuck(http, "/graphql", '{"type": "connection_init"}', f"Sec-WebSocket-Protocol: {protocol}")
    asked = {"query": "{ models { " + "x" * 60_000 + ": __typename } }"}  # the answer has that name for each model
    assert QUEUE_CHARACTERS_MAX < 25 * 20 * 60_000
    try:
        with suppress(ConnectionError):
            for number in range(25):
                message = {"type": WORDS[protocol]["start"], "id": str(number), "payload": asked}
                await asyncio.to_thread(raw.sendall, masked(json.dumps(message)))
        async with asyncio.timeout(60):
            while http.server.server_state.connections:  # noqa: ASYNC110 - uvicorn does not tell
                await asyncio.sleep(0.05)
    finally:
        raw.close()


@both
async def test_an_operations_id_is_no_longer_than_a_thousand_characters(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        await socket.start("{ models { name } }", "i" * 1000)
        assert len(await socket.results()) == 1
        await socket.start("{ models { name } }", "i" * 1001)
        assert (await socket.closed())[0] == 4400
