"""GraphQL over WebSockets in both subprotocols: T-GQL-09, T-GQL-10, C-AUTH-10."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobKind
from control_plane.domain.optimization import OptimizationOptions
from control_plane.domain.optimization_options import parse_options
from control_plane.edge.graphql import sockets
from control_plane.edge.http.sockets.connection import QUEUE_CHARACTERS_MAX
from control_plane.ports import Progress
from control_plane.services.jobs import Run
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.sockets import masked, stuck
from tests.contract.truthgpt.graphql_client import WORDS, Socket, begun, opened
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.quotas import limited
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world

PROTOCOLS = list(WORDS)
both = pytest.mark.parametrize("protocol", PROTOCOLS)
FOLLOW = (
    "subscription($id: String!) { optimizationProgress(optimizationId: $id) "
    "{ optimizationId status progress performanceMetrics completedAt } }"
)
STREAM = (
    "subscription($text: String!, $max: Int! = 100) "
    '{ inferenceStream(modelId: "coder", inputData: $text, maxLength: $max) }'
)


async def submitted(http: Served) -> str:
    options: tuple[OptimizationOptions, tuple[str, ...]] = parse_options("basic", {})
    job = await http.world.services.optimizations.submit("adder", *options, None)
    return job.id


async def stalled(http: Served, socket: Socket, name: str = "1") -> None:
    """Begin a stream, and wait until it stands still after the first of its two tokens."""
    http.world.triton.hold_at = 1
    await socket.start(STREAM, name, text="a b")
    await http.world.triton.holding.wait()


async def error(socket: Socket) -> dict[str, object]:
    """The error that ends the operation, which is a list of them in one protocol and one in the other."""
    message = await socket.hear()
    assert message["type"] == "error", message
    payload = message["payload"]
    first: dict[str, object] = payload if socket.protocol == "graphql-ws" else payload[0]
    return first


def code(told: dict[str, object]) -> object:
    extensions = told["extensions"]
    assert isinstance(extensions, dict)
    assert extensions["request_id"].startswith("req_")
    return extensions["code"]


@both
async def test_t_gql_09_it_begins_with_how_it_is_and_ends_with_how_it_ended(
    serve_http: ServeHttp, protocol: str
) -> None:
    work = StubOptimizing(gate=asyncio.Event())
    http = await serve_http()
    http.world.services.jobs.register(JobKind.OPTIMIZE, work)
    optimization_id = await submitted(http)
    await work.half_way.wait()
    async with begun(http, protocol) as socket:
        await socket.start(FOLLOW, id=optimization_id)
        first = (await socket.hear())["payload"]["data"]["optimizationProgress"]
        assert (first["optimizationId"], first["status"], first["progress"]) == (optimization_id, "running", 50.0)
        work.gate.set()  # type: ignore[union-attr]
        (last,) = [result["data"]["optimizationProgress"] for result in await socket.results()]
        assert (last["status"], last["progress"]) == ("completed", 100.0)
        assert last["performanceMetrics"]["speedup"] > 1
        assert last["completedAt"] is not None
        # Of one that is over the last is also the first.
        await socket.start(FOLLOW, "2", id=optimization_id)
        assert [result["data"]["optimizationProgress"] for result in await socket.results()] == [last]


async def test_t_gql_09_changes_come_at_most_ten_times_a_second_and_progress_never_falls(
    serve_http: ServeHttp,
) -> None:
    async def hurried(run: Run) -> dict[str, object]:
        for number in range(60):
            run.report(Progress(number / 60, f"step {number}"))
            await run.settled()
            await asyncio.sleep(0.01)
        return {}

    http = await serve_http()
    http.world.services.jobs.register(JobKind.OPTIMIZE, hurried)
    async with begun(http, "graphql-transport-ws") as socket:
        started = time.monotonic()
        await socket.start(FOLLOW, id=await submitted(http))
        told = [result["data"]["optimizationProgress"]["progress"] for result in await socket.results()]
    assert told == sorted(told)
    assert told[-1] == 100.0
    assert 4 <= len(told) <= 2 + 10 * (time.monotonic() - started)


@both
async def test_t_gql_09_an_unknown_optimization_is_an_error(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        await socket.start(FOLLOW, id="opt_nobody")
        assert code(await error(socket)) == "OPTIMIZATION_NOT_FOUND"
        await socket.start("{ models { name } }", "2")
        assert len(await socket.results()) == 1


@both
async def test_t_gql_10_each_piece_of_a_text_is_an_event_and_together_they_are_the_text(
    http: Served, protocol: str
) -> None:
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a b c d", max=3)
        results = await socket.results()
        assert [result["data"]["inferenceStream"] for result in results] == ["a", " b", " c"]


@both
async def test_t_gql_10_unsubscribing_ends_the_generation_inside_triton(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket)
        await socket.hear()
        await socket.stop()
        async with asyncio.timeout(5):
            await http.world.triton.was_closed_early.wait()
        # The id is free again, and nothing more is said of what was stopped.
        await socket.start("{ models { name } }")
        (result,) = await socket.results()
        assert set(result["data"]) == {"models"}


@both
async def test_t_gql_10_a_client_who_leaves_ends_its_generations(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket)
        socket.connection.transport.abort()
        async with asyncio.timeout(5):
            await http.world.triton.was_closed_early.wait()


@both
async def test_t_gql_10_what_fails_on_the_way_ends_with_an_error(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (2, EngineFailed("the kernel exploded"))
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a b c")
        assert [(await socket.hear())["payload"]["data"]["inferenceStream"] for _ in range(2)] == ["a", " b"]
        told = await error(socket)
        assert (code(told), told["message"]) == ("PROCESSING_FAILED", "the kernel exploded")


@both
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("{ models {", "INVALID_REQUEST"),
        ("{ colours }", "INVALID_REQUEST"),
        ("subscription { models }", "INVALID_REQUEST"),
        ('subscription { inferenceStream(modelId: "nobody", inputData: "a") }', "MODEL_NOT_FOUND"),
        ('subscription { inferenceStream(modelId: "coder", inputData: "a", temperature: 3) }', "INVALID_REQUEST"),
        ("{" * 3000, "INVALID_REQUEST"),
    ],
)
async def test_t_gql_12_what_is_refused_ends_its_operation_and_not_the_connection(
    http: Served, protocol: str, query: str, wanted: str
) -> None:
    async with begun(http, protocol) as socket:
        await socket.start(query)
        assert code(await error(socket)) == wanted
        await socket.start(STREAM, text="a")
        assert len(await socket.results()) == 1


@both
async def test_queries_and_mutations_are_answered_too_and_operations_run_side_by_side(
    serve_http: ServeHttp, protocol: str
) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket, "slow")
        assert (await socket.hear())["id"] == "slow"
        await socket.start('mutation { unload_model(model_id: "adder") }', "quick")
        result = {"type": WORDS[protocol]["result"], "id": "quick", "payload": {"data": {"unload_model": True}}}
        assert await socket.hear() == result
        assert await socket.hear() == {"type": "complete", "id": "quick"}
        http.world.triton.go_on.set()
        assert len(await socket.results()) == 1


@both
async def test_a_field_that_fails_is_told_beside_the_others(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        await socket.start('{ good: model(modelId: "coder") { name } bad: model(modelId: "b$d") { name } }')
        (result,) = await socket.results()
        assert result["data"] == {"good": {"name": "coder"}, "bad": None}
        assert result["errors"][0]["extensions"]["code"] == "INVALID_REQUEST"


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
        assert code(await error(socket)) == "FORBIDDEN"


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


@both
async def test_an_operation_whose_payload_is_no_request_is_refused_alone(http: Served, protocol: str) -> None:
    async with begun(http, protocol) as socket:
        for payload in (None, [], {}, {"query": 5}, {"query": "{ models { name } }", "variables": 5}):
            await socket.say(type=WORDS[protocol]["start"], id="1", payload=payload)
            assert code(await error(socket)) == "INVALID_REQUEST"


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
async def test_c_rl_06_operations_count_in_the_buckets_of_http(serve_http: ServeHttp, protocol: str) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    ask = {"model_id": "coder", "input_data": {"text": "a"}}
    for _ in range(9):
        assert (await http.client.post("/inference", json=ask, headers=http.admin)).status_code == 200
    async with begun(http, protocol) as socket:
        await socket.start(STREAM, text="a")
        assert len(await socket.results()) == 1
        await socket.start(STREAM, text="a")
        told = await error(socket)
        assert code(told) == "RATE_LIMIT_EXCEEDED"


@both
async def test_c_audit_01_what_a_connection_changes_leaves_a_line_with_its_own_request(
    serve_http: ServeHttp, protocol: str
) -> None:
    http = await serve_http()
    lines = http.world.audit.written
    lines.clear()
    async with begun(http, protocol) as socket:
        for model in ("adder", "coder"):
            await socket.start(f'mutation {{ unloadModel(modelId: "{model}") }}')
            await socket.results()
    told = [(line["verb"], line["object"], line["who"], line["door"]) for line in lines]
    assert told == [("model.unload", name, "somebody", "websocket") for name in ("adder", "coder")]
    assert len({line["request_id"] for line in lines}) == 2


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
                assert code(await error(socket)) == "RATE_LIMIT_EXCEEDED"


@both
async def test_a_server_that_stops_lets_a_stream_finish_and_says_goodbye(serve_http: ServeHttp, protocol: str) -> None:
    http = await serve_http()
    async with begun(http, protocol) as socket:
        await stalled(http, socket)
        http.world.services.health.stopping.set()
        await socket.start("{ models { name } }", "late")
        answers = [await socket.hear(), await socket.hear()]
        assert {answer["id"]: answer["type"] for answer in answers}["late"] == "error"
        http.world.triton.go_on.set()
        assert len(await socket.results()) == 1
        assert await socket.closed() == (1001, "the server is stopping")


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
