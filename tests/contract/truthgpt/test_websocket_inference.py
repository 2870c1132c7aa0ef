"""TruthGPT's WebSocket that generates: T-WS-06, C-RL-06, and images over it (T-REST-19, 20)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.contract.sockets import Socket, open_socket
from tests.contract.truthgpt.pictures import DIFFUSION, HYBRID, drawing_world, png_files
from tests.doubles.quotas import limited

CODER = "/ws/inference/coder"


async def run(socket: Socket, input_data: Any, **options: Any) -> list[dict[str, Any]]:
    await socket.say("start_inference", input_data=input_data, **options)
    return await socket.hear_until("inference_complete")


async def stalled(http: Served, socket: Socket) -> None:
    """Begin a run, and wait until it stands still after its second token."""
    http.world.triton.hold_at = 2
    await socket.say("start_inference", input_data="a b c")
    await http.world.triton.holding.wait()


@pytest.mark.parametrize("path", [CODER, "/v1/ws/inference/coder:1"])
@pytest.mark.parametrize("given", ["a b c", {"text": "a b c"}])
async def test_t_ws_06_tokens_come_one_by_one_and_then_what_they_make(http: Served, path: str, given: Any) -> None:
    async with open_socket(http, path) as socket:
        *tokens, complete = await run(socket, given)
        assert [(token["token"], token["index"]) for token in tokens] == [("a", 0), (" b", 1), (" c", 2)]
        assert {token["type"] for token in tokens} == {"inference_token"}
        assert (complete["text"], complete["tokens_generated"], complete["finish_reason"]) == ("a b c", 3, "stop")
        assert complete["inference_time"] > 0
        assert complete["tokens_per_second"] * complete["inference_time"] == pytest.approx(3)
        assert complete["request_id"] == http.world.triton.requests[-1].request_id


async def test_t_ws_06_options_mean_what_they_mean_in_rest(http: Served) -> None:
    async with open_socket(http, CODER) as socket:
        inside = {"text": "a b c d", "max_length": 3, "temperature": 0.25}
        *_, complete = await run(socket, inside, max_length=2, seed=7)
        assert (complete["tokens_generated"], complete["finish_reason"]) == (2, "length")
        parameters = dict(http.world.triton.requests[-1].parameters)
        assert (parameters["max_tokens"], parameters["temperature"], parameters["seed"]) == (2, 0.25, 7)
        await run(socket, "a")
        parameters = dict(http.world.triton.requests[-1].parameters)
        assert (parameters["max_tokens"], parameters["temperature"], parameters["top_p"]) == (100, 0.7, 0.9)


async def test_t_ws_06_runs_follow_each_other_and_each_has_an_id(http: Served) -> None:
    async with open_socket(http, CODER) as socket:
        runs = [(await run(socket, text))[-1] for text in ("first", '{"text": "no object"}', "")]
        assert [one["text"] for one in runs] == ["first", '{"text": "no object"}', ""]
        assert len({one["request_id"] for one in runs}) == 3


async def test_t_ws_06_a_second_run_while_one_runs_is_a_conflict(serve_http: ServeHttp) -> None:
    http = await serve_http()
    async with open_socket(http, CODER) as socket:
        await stalled(http, socket)
        assert [(await socket.hear())["token"] for _ in range(2)] == ["a", " b"]
        await socket.say("start_inference", input_data="d")
        assert await socket.hear_error() == "CONFLICT"
        assert (await socket.ask("ping"))["type"] == "pong"
        http.world.triton.go_on.set()
        assert (await socket.hear_until("inference_complete"))[-1]["text"] == "a b c"


async def test_t_ws_06_a_run_is_stopped_and_another_may_begin(serve_http: ServeHttp) -> None:
    http = await serve_http()
    triton = http.world.triton
    async with open_socket(http, CODER) as socket:
        await socket.say("stop_inference")
        assert await socket.hear_error() == "CONFLICT"
        await stalled(http, socket)
        await socket.say("stop_inference")
        complete = (await socket.hear_until("inference_complete"))[-1]
        assert (complete["text"], complete["tokens_generated"], complete["finish_reason"]) == ("a b", 2, "cancelled")
        assert triton.closed_early == 1
        triton.hold_at = None
        assert (await run(socket, "d"))[-1]["text"] == "d"


async def test_t_ws_06_a_caller_who_leaves_cancels_the_run_inside_triton(serve_http: ServeHttp) -> None:
    http = await serve_http()
    async with open_socket(http, CODER) as socket:
        await stalled(http, socket)
    await asyncio.wait_for(http.world.triton.was_closed_early.wait(), 30)
    assert http.world.services.inference.tallies["coder"].in_flight == 0


async def test_t_ws_06_a_caller_who_vanishes_cancels_it_too(serve_http: ServeHttp) -> None:
    http = await serve_http()
    async with open_socket(http, CODER) as socket:
        await stalled(http, socket)
        socket.connection.transport.abort()
        await asyncio.wait_for(http.world.triton.was_closed_early.wait(), 30)


async def test_t_ws_06_a_run_that_fails_is_told_and_the_next_one_runs(serve_http: ServeHttp) -> None:
    http = await serve_http()
    triton = http.world.triton
    async with open_socket(http, CODER) as socket:
        triton.fail_at = (2, EngineFailed("coder--r1 broke"))
        await socket.say("start_inference", input_data="a b c")
        assert [(await socket.hear())["token"] for _ in range(2)] == ["a", " b"]
        assert await socket.hear_error() == "PROCESSING_FAILED"
        triton.fail_at = None
        triton.forgets_to_finish = True
        await socket.say("start_inference", input_data="a")
        await socket.hear()
        assert await socket.hear_error() == "PROCESSING_FAILED"
        triton.forgets_to_finish = False
        assert (await run(socket, "d"))[-1]["text"] == "d"


async def test_a_bug_is_told_without_a_trace_and_the_next_run_runs(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (0, KeyError("/secret/path"))  # type: ignore[assignment]
    async with open_socket(http, CODER) as socket:
        told = await socket.ask("start_inference", input_data="a")
        assert (told["type"], told["code"]) == ("error", "INTERNAL_ERROR")
        assert "/secret" not in str(told)
        http.world.triton.fail_at = None
        assert (await run(socket, "d"))[-1]["text"] == "d"


async def test_t_ws_06_what_cannot_be_generated_is_refused_in_words(serve_http: ServeHttp) -> None:
    http = await serve_http()
    async with open_socket(http, CODER) as socket:
        for fields, code in (
            ({}, "VALIDATION_ERROR"),
            ({"input_data": 5}, "VALIDATION_ERROR"),
            ({"input_data": {}}, "VALIDATION_ERROR"),
            ({"input_data": "a", "max_length": 0}, "VALIDATION_ERROR"),
            ({"input_data": "a", "temperature": 2.5}, "VALIDATION_ERROR"),
            ({"input_data": "a", "max_length": "many"}, "VALIDATION_ERROR"),
            ({"input_data": {"text": "a", "num_steps": 4}}, "VALIDATION_ERROR"),
            ({"input_data": "x" * 2000}, "VALIDATION_ERROR"),  # more than the model's context
        ):
            await socket.say("start_inference", **fields)
            assert await socket.hear_error() == code, fields
        await http.world.services.models.unload("coder")
        await socket.say("start_inference", input_data="a")
        assert await socket.hear_error() == "MODEL_NOT_READY"
    async with open_socket(http, "/ws/inference/adder") as socket:
        await socket.say("start_inference", input_data="a")
        assert await socket.hear_error() == "VALIDATION_ERROR"


async def test_t_ws_06_an_unknown_model_is_an_error_and_a_close(http: Served) -> None:
    for model in ("codr", "coder:7", "coder@nothing"):
        async with open_socket(http, f"/ws/inference/{model}") as socket:
            assert await socket.hear_error() == "MODEL_NOT_FOUND"
            assert await socket.hear_close() == 4404


async def test_t_ws_06_what_no_model_can_be_called_is_refused_however_long_it_is(http: Served) -> None:
    async with open_socket(http, f"/ws/inference/{'x' * 300}") as socket:
        assert await socket.hear_error() == "VALIDATION_ERROR"
        assert await socket.hear_close() == 4404


async def test_t_ws_08_a_server_that_stops_lets_a_run_finish_and_begins_no_other(serve_http: ServeHttp) -> None:
    http = await serve_http()
    async with open_socket(http, CODER) as socket:
        await stalled(http, socket)
        http.world.services.health.stopping.set()
        await socket.hear_until("server_shutdown")
        http.world.triton.go_on.set()
        assert (await socket.hear_until("inference_complete"))[-1]["text"] == "a b c"
        assert await socket.hear_close() == 1001


async def test_t_ws_08_a_run_that_outlasts_the_stop_is_cut_off_with_the_same_close(serve_http: ServeHttp) -> None:
    http = await serve_http()
    async with open_socket(http, CODER) as socket:
        await stalled(http, socket)
        await http.server.stop(0)
        assert await socket.hear_close() == 1001
    assert http.world.triton.closed_early == 1


async def test_c_rl_06_runs_count_in_the_bucket_of_inference(serve_http: ServeHttp) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    body = {"model_id": "coder", "input_data": {"text": "a"}}
    for _ in range(7):
        assert (await http.client.post("/inference", json=body, headers=http.user)).status_code == 200
    async with open_socket(http, CODER) as socket:
        for _ in range(3):
            await run(socket, "a")
        await socket.say("start_inference", input_data="a")
        assert await socket.hear_error() == "RATE_LIMIT_EXCEEDED"
        assert (await socket.ask("ping"))["type"] == "pong"
    assert (await http.client.post("/inference", json=body, headers=http.user)).status_code == 429


async def test_c_rl_06_a_run_in_flight_counts_among_all_of_its_callers_requests(serve_http: ServeHttp) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock, "unlimited", max_in_flight=1))
    async with open_socket(http, CODER) as socket, open_socket(http, CODER) as other:
        await stalled(http, socket)
        await other.say("start_inference", input_data="d")
        assert await other.hear_error() == "RATE_LIMIT_EXCEEDED"
        world.triton.go_on.set()
        await socket.hear_until("inference_complete")
        assert (await run(other, "d"))[-1]["text"] == "d"


async def test_c_err_09_a_run_refused_for_its_form_or_for_others_that_run_costs_nothing(serve_http: ServeHttp) -> None:
    world = await two_models()
    quotas = limited(world.clock, max_in_flight=1)
    http = await serve_http(world, quotas=quotas)
    async with open_socket(http, CODER) as socket, open_socket(http, CODER) as other:
        for _ in range(11):
            await socket.say("start_inference", input_data="x" * 2000)  # more than the model's context
            assert await socket.hear_error() == "VALIDATION_ERROR"
        await stalled(http, socket)
        for _ in range(11):
            await other.say("start_inference", input_data="d")
            assert await other.hear_error() == "RATE_LIMIT_EXCEEDED"
        world.triton.go_on.set()
        await socket.hear_until("inference_complete")
        for _ in range(9):
            await run(socket, "a")
        await socket.say("start_inference", input_data="a")
        assert await socket.hear_error() == "RATE_LIMIT_EXCEEDED"


async def test_x_adm_01_messages_are_told_among_what_their_sender_has_asked(serve_http: ServeHttp) -> None:
    world = await two_models()
    http = await serve_http(world, quotas=limited(world.clock))
    async with open_socket(http, CODER) as socket:
        for _ in range(10):
            await run(socket, "a")
        await socket.say("start_inference", input_data="a")
        assert await socket.hear_error() == "RATE_LIMIT_EXCEEDED"
        assert (await socket.ask("ping"))["type"] == "pong"
    (caller, _) = (await http.client.get("/admin/usage", headers=http.as_role("admin", "root"))).json()["callers"]
    told = {one["limit_class"]: (one["requests"], one["refused"]) for one in caller["classes"]}
    assert told == {"inference": (10, 1), "default": (1, 0)}


async def test_t_rest_19_a_model_that_draws_tells_its_steps_and_then_its_images(serve_http: ServeHttp) -> None:
    http = await serve_http(await drawing_world())
    async with open_socket(http, f"/ws/inference/{DIFFUSION}") as socket:
        *steps, complete = await run(socket, {"num_steps": 3, "num_images": 2, "seed": 5, "label": "7"})
        assert [(step["type"], step["step"], step["num_steps"]) for step in steps] == [
            ("inference_step", number, 3) for number in (1, 2, 3)
        ]
        output = complete["output"]
        assert (output["num_steps"], output["seed"], output["unit"]) == (3, 5, "steps")
        assert len(png_files(output)) == 2
        assert complete["tokens_per_second"] * complete["inference_time"] == pytest.approx(6)
        again = (await run(socket, '{"num_steps": 3, "num_images": 2, "label": "7"}', seed=5))[-1]
        assert again["output"]["images"] == output["images"]
        await socket.say("start_inference", input_data={"num_steps": 101})
        assert await socket.hear_error() == "VALIDATION_ERROR"


async def test_t_rest_20_a_prompt_is_drawn(serve_http: ServeHttp) -> None:
    http = await serve_http(await drawing_world())
    async with open_socket(http, f"/ws/inference/{HYBRID}") as socket:
        complete = (await run(socket, "a seven", seed=1))[-1]
        png_files(complete["output"])
        assert len(complete["output"]["stages"]) >= 2
        await socket.say("start_inference", input_data={"num_steps": 2})
        assert await socket.hear_error() == "VALIDATION_ERROR"
