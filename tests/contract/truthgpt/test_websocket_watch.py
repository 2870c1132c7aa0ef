"""TruthGPT's WebSockets that watch: T-WS-01 to T-WS-05, and C-RL-06 on them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobKind
from control_plane.domain.optimization_options import parse_options
from control_plane.services.token_feed import WAITING_MAX
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.sockets import Socket, open_socket
from tests.contract.truthgpt.conftest import Serve
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.quotas import limited
from tests.doubles.repository import text_revision
from tests.doubles.services import make_world


async def submitted(http: Served) -> str:
    job = await http.world.services.optimizations.submit("adder", *parse_options("master", {}), None)
    return job.id


async def held(serve_http: ServeHttp, **work: Any) -> tuple[Served, StubOptimizing, str]:
    """An optimization that waits half-way."""
    world, stub = await two_models(), StubOptimizing(gate=asyncio.Event(), **work)
    world.services.jobs.register(JobKind.OPTIMIZE, stub)
    http = await serve_http(world)
    optimization_id = await submitted(http)
    await stub.half_way.wait()
    return http, stub, optimization_id


async def generate(http: Served, text: str, headers: dict[str, str], model: str = "coder") -> None:
    body = {"model_id": model, "input_data": {"text": text}}
    assert (await http.client.post("/inference", json=body, headers=headers)).status_code == 200


async def hear_tokens(socket: Socket, count: int) -> list[str]:
    frames = [await socket.hear() for _ in range(count)]
    assert {frame["type"] for frame in frames} == {"inference_token"}, frames
    return [frame["token"] for frame in frames]


async def is_silent(socket: Socket) -> bool:
    """Nothing was said before the answer to this."""
    return (await socket.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("path", ["/ws", "/v1/ws", "/ws/inference/coder"])
async def test_t_ws_01_a_ping_is_answered(http: Served, path: str) -> None:
    async with open_socket(http, path) as socket:
        frame = await socket.ask("ping", more="is ignored")
        assert set(frame) == {"type", "timestamp"}
        assert frame["type"] == "pong"


async def test_t_ws_02_an_optimization_is_watched_until_it_is_over(serve_http: ServeHttp) -> None:
    http, work, optimization_id = await held(serve_http)
    async with open_socket(http, headers=http.viewer) as socket:
        confirmed = await socket.ask("subscribe_optimization", optimization_id=optimization_id)
        assert (confirmed["type"], confirmed["optimization_id"]) == ("subscription_confirmed", optimization_id)
        first = await socket.hear()
        assert (first["type"], first["optimization_id"]) == ("optimization_update", optimization_id)
        assert first["data"]["status"] == "running"
        assert 0 < first["data"]["progress"] < 100
        assert first["data"]["performance_metrics"] == {}
        assert work.gate is not None
        work.gate.set()
        last = await socket.hear()
        while last["data"]["status"] == "running":
            last = await socket.hear()
        rest = (await http.client.get(f"/optimize/{optimization_id}", headers=http.viewer)).json()
        assert last["data"] == rest
        assert (rest["status"], rest["progress"]) == ("completed", 100)
        assert await is_silent(socket)


async def test_t_ws_02_one_that_is_over_is_told_once(serve_http: ServeHttp) -> None:
    http, work, optimization_id = await held(serve_http, failure=EngineFailed("it broke"))
    assert work.gate is not None
    work.gate.set()
    await http.world.services.jobs.wait(optimization_id)
    async with open_socket(http) as socket:
        await socket.ask("subscribe_optimization", optimization_id=optimization_id)
        told = (await socket.hear())["data"]
        assert (told["status"], told["error_message"]) == ("failed", "it broke")
        assert await is_silent(socket)


async def test_t_ws_02_an_unknown_one_is_an_error_and_the_socket_goes_on(http: Served) -> None:
    async with open_socket(http) as socket:
        await socket.say("subscribe_optimization", optimization_id="opt_none")
        assert await socket.hear_error() == "OPTIMIZATION_NOT_FOUND"
        assert await is_silent(socket)


async def test_t_ws_04_who_unsubscribes_hears_no_more(serve_http: ServeHttp) -> None:
    http, work, optimization_id = await held(serve_http)
    async with open_socket(http) as socket:
        for _ in range(2):  # a second one changes nothing
            confirmed = await socket.ask("subscribe_optimization", optimization_id=optimization_id)
            while confirmed["type"] == "optimization_update":
                confirmed = await socket.hear()
            assert confirmed["type"] == "subscription_confirmed"
        over = await socket.ask("unsubscribe_optimization", optimization_id=optimization_id)
        assert (over["type"], over["optimization_id"]) == ("unsubscription_confirmed", optimization_id)
        assert work.gate is not None
        work.gate.set()
        await http.world.services.jobs.wait(optimization_id)
        assert await is_silent(socket)
        assert (await socket.ask("unsubscribe_inference", model_id="coder"))["type"] == "unsubscription_confirmed"


async def test_t_ws_03_the_tokens_of_ones_own_requests_arrive_and_nobody_elses(serve_http: ServeHttp) -> None:
    http = await serve_http()
    mine, other = http.as_role(Role.USER, "ann"), http.as_role(Role.USER, "bob")
    async with open_socket(http, headers=mine) as ann, open_socket(http, headers=http.admin) as admin:
        for socket in (ann, admin):
            confirmed = await socket.ask("subscribe_inference", model_id="coder")
            assert (confirmed["type"], confirmed["model_id"]) == ("subscription_confirmed", "coder")
        await generate(http, "what bob said", other)
        await generate(http, "what ann said", mine)
        frame = await ann.hear()
        assert (frame["type"], frame["model_id"], frame["token"]) == ("inference_token", "coder", "what")
        assert await hear_tokens(ann, 2) == [" ann", " said"]
        assert await is_silent(ann)
        assert "".join(await hear_tokens(admin, 6)) == "what bob saidwhat ann said"


async def test_t_ws_03_tokens_arrive_whatever_api_asks_for_them(serve_http: ServeHttp, serve: Serve) -> None:
    http = await serve_http()
    grpc = await serve(http.world)
    async with open_socket(http) as listening, open_socket(http, "/ws/inference/coder") as generating:
        await listening.ask("subscribe_inference", model_id="coder")
        body = {"model_id": "coder", "input_data": {"text": "by stream"}}
        await http.client.post("/v1/inference/stream", json=body, headers=http.user)
        assert await hear_tokens(listening, 2) == ["by", " stream"]
        await generating.say("start_inference", input_data="by socket")
        assert await hear_tokens(listening, 2) == ["by", " socket"]
        query = 'mutation { runInference(modelId: "coder", inputData: "by graphql") { output } }'
        await http.client.post("/graphql", json={"query": query}, headers=http.user)
        assert await hear_tokens(listening, 2) == ["by", " graphql"]
        user = grpc.as_role(Role.USER)
        await grpc.stub.RunInference(grpc.pb.InferenceRequest(model_id="coder", input_text="by grpc"), metadata=user)
        assert await hear_tokens(listening, 2) == ["by", " grpc"]
        request = grpc.pb.StreamInferenceRequest(model_id="coder", input_text="by stream")
        assert [token.token async for token in grpc.stub.StreamInference(request, metadata=user)] == ["by", " stream"]
        assert await hear_tokens(listening, 2) == ["by", " stream"]


async def test_t_ws_03_a_revision_is_listened_to_alone_and_a_name_means_any_of_them(serve_http: ServeHttp) -> None:
    world = await make_world(text_revision("coder"), text_revision("coder", 2))
    for reference in ("coder:1", "coder:2"):
        await world.services.models.load(reference)
    http = await serve_http(world)
    async with open_socket(http) as one, open_socket(http) as every:
        await one.ask("subscribe_inference", model_id="coder:2")
        await every.ask("subscribe_inference", model_id="coder")
        await generate(http, "first", http.user, "coder:1")
        await generate(http, "second", http.user, "coder:2")
        assert await hear_tokens(every, 2) == ["first", "second"]
        assert await hear_tokens(one, 1) == ["second"]
        assert await is_silent(one)


async def test_t_ws_03_inference_is_not_for_viewers_and_unknown_models_are_unknown(http: Served) -> None:
    async with open_socket(http, headers=http.viewer) as socket:
        await socket.say("subscribe_inference", model_id="coder")
        assert await socket.hear_error() == "FORBIDDEN"
    async with open_socket(http) as socket:
        await socket.say("subscribe_inference", model_id="codr")
        assert await socket.hear_error() == "MODEL_NOT_FOUND"
        await socket.say("subscribe_inference", model_id="co/der")
        assert await socket.hear_error() == "VALIDATION_ERROR"


async def test_t_ws_03_who_has_left_is_not_listened_for(serve_http: ServeHttp) -> None:
    http = await serve_http()
    feed = http.world.services.inference.feed
    async with open_socket(http) as socket:
        await socket.ask("subscribe_inference", model_id="coder")
        assert len(feed.listening) == 1
    async with asyncio.timeout(30):
        while feed.listening:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_t_ws_03_a_long_answer_in_one_piece_arrives_whole(serve_http: ServeHttp) -> None:
    """4,096 tokens at once are more than may wait for a client; they are held back, and it is not."""
    http = await serve_http()
    text = " ".join("x" for _ in range(500))
    async with open_socket(http) as socket:
        await socket.ask("subscribe_inference", model_id="coder")
        for _ in range(8):
            body = {"model_id": "coder", "input_data": {"text": text}, "max_length": 4096}
            assert (await http.client.post("/inference", json=body, headers=http.user)).status_code == 200
        assert len(await hear_tokens(socket, 4000)) == 4000
    assert WAITING_MAX >= 2 * 4096


async def test_t_ws_05_a_socket_of_one_optimization_tells_its_status_and_each_change(serve_http: ServeHttp) -> None:
    http, work, optimization_id = await held(serve_http)
    async with open_socket(http, f"/ws/optimization/{optimization_id}", http.viewer) as socket:
        status = await socket.ask("get_status")
        rest = (await http.client.get(f"/optimize/{optimization_id}", headers=http.viewer)).json()
        assert (status["type"], status["data"]) == ("optimization_status", rest)
        assert work.gate is not None
        work.gate.set()
        update = await socket.hear()
        while update["data"]["status"] == "running":
            assert update["type"] == "optimization_update"
            update = await socket.hear()
        assert update["data"]["status"] == "completed"
        assert (await socket.ask("get_status"))["data"] == update["data"]


async def test_t_ws_05_an_unknown_optimization_is_an_error_and_a_close(http: Served) -> None:
    for path in ("/ws/optimization/opt_none", "/v1/ws/optimization/opt_none"):
        async with open_socket(http, path) as socket:
            assert await socket.hear_error() == "OPTIMIZATION_NOT_FOUND"
            assert await socket.hear_close() == 4404


async def test_t_ws_08_a_server_that_stops_says_so(serve_http: ServeHttp) -> None:
    http, _, optimization_id = await held(serve_http)
    async with open_socket(http) as idle, open_socket(http) as watching:
        await watching.ask("subscribe_optimization", optimization_id=optimization_id)
        await idle.ask("ping")
        http.world.services.health.stopping.set()
        for socket in (idle, watching):
            frames = await socket.hear_until("server_shutdown")
            assert frames[-1]["message"] == "the server is stopping"
            assert await socket.hear_close() == 1001


async def test_t_ws_02_one_connection_has_a_hundred_subscriptions_and_no_more(serve_http: ServeHttp) -> None:
    world = await make_world(*(text_revision(f"model-{number}") for number in range(101)))
    http = await serve_http(world)
    async with open_socket(http) as socket:
        for number in range(100):
            assert (await socket.ask("subscribe_inference", model_id=f"model-{number}"))["type"] == (
                "subscription_confirmed"
            )
        await socket.say("subscribe_inference", model_id="model-100")
        assert await socket.hear_error() == "CONFLICT"


async def test_c_rl_06_messages_count_in_the_same_buckets_as_requests(serve_http: ServeHttp) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    for _ in range(40):
        assert (await http.client.get("/optimizations", headers=http.user)).status_code == 200
    async with open_socket(http) as socket:
        for _ in range(60):
            await socket.say("nonsense")  # costs nothing
            assert await socket.hear_error() == "INVALID_MESSAGE_TYPE"
            assert (await socket.ask("ping"))["type"] == "pong"
        await socket.say("ping")
        refused = await socket.hear()
        assert (refused["type"], refused["code"]) == ("error", "RATE_LIMIT_EXCEEDED")
        assert refused["data"]["retry_after"] >= 1
        assert (await http.client.get("/optimizations", headers=http.user)).status_code == 429
        world.clock.advance(61)
        assert await is_silent(socket)
