"""Text over REST: T-REST-08 and T-REST-09."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed, Unavailable
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served

ASK: dict[str, Any] = {"model_id": "coder", "input_data": {"text": "a b c"}}


def ask(**more: Any) -> dict[str, Any]:
    return {**ASK, **more}


def events(body: str) -> list[str]:
    assert body.endswith("\n\n")
    lines = body.split("\n\n")[:-1]
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_t_rest_08_an_answer_has_the_text_its_tokens_and_their_probabilities(http: Served, prefix: str) -> None:
    reply = await http.client.post(f"{prefix}/inference", json=ASK, headers=http.user)
    assert reply.status_code == 200
    body = reply.json()
    assert body["model_id"] == "coder"
    assert body["output"] == {
        "text": "a b c",
        "tokens": ["a", " b", " c"],
        "probabilities": [0.5] * 3,
        "finish_reason": "stop",
    }
    assert body["inference_time"] > 0
    assert body["tokens_per_second"] * body["inference_time"] == pytest.approx(3)
    assert body["created_at"].endswith("Z")
    assert body["request_id"] == reply.headers["X-Request-ID"]


async def test_t_rest_08_an_option_of_the_request_wins_over_one_of_its_input_and_both_over_the_default(
    http: Served,
) -> None:
    inside = {"text": "a b c d", "max_length": 3, "temperature": 0.25, "top_p": 0.5}
    await http.client.post("/inference", json=ask(input_data=inside, max_length=2), headers=http.user)
    parameters = dict(http.world.triton.requests[-1].parameters)
    assert parameters["max_tokens"] == 2
    assert parameters["temperature"] == 0.25
    assert parameters["top_p"] == 0.5
    await http.client.post("/inference", json=ASK, headers=http.user)
    parameters = dict(http.world.triton.requests[-1].parameters)
    assert (parameters["max_tokens"], parameters["temperature"], parameters["top_p"]) == (100, 0.7, 0.9)


async def test_t_rest_08_every_option_reaches_the_model(http: Served) -> None:
    options = {"top_k": 5, "seed": 7, "stop_sequences": ["x"], "frequency_penalty": 1, "presence_penalty": -1}
    await http.client.post("/inference", json=ask(temperature=0, **options), headers=http.user)
    parameters = dict(http.world.triton.requests[-1].parameters)
    assert parameters["temperature"] == 0
    assert (parameters["top_k"], parameters["seed"], parameters["stop"]) == (5, 7, '["x"]')
    assert (parameters["frequency_penalty"], parameters["presence_penalty"]) == (1, -1)


async def test_c_id_01_the_request_id_reaches_triton(http: Served) -> None:
    await http.client.post("/inference", json=ASK, headers={**http.user, "X-Request-ID": "mine-1"})
    assert http.world.triton.requests[-1].request_id == "mine-1"


async def test_t_rest_08_unknown_fields_are_ignored_and_an_empty_text_is_a_text(http: Served) -> None:
    reply = await http.client.post(
        "/inference", json=ask(colour="red", input_data={"text": "", "mood": 1}), headers=http.user
    )
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"model_id": 7}, "model_id"),
        ({"input_data": "text"}, "input_data"),
        ({"input_data": {}}, "input_data"),
        ({"input_data": {"text": ["a"]}}, "text"),
        ({"max_length": "ten"}, "max_length"),
        ({"max_length": 1.5}, "max_length"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 4097}, "max_length"),
        ({"max_length": 10**30}, "max_length"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"seed": "x"}, "seed"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["x"] * 9}, "stop_sequences"),
    ],
)
@pytest.mark.parametrize("path", ["/inference", "/inference/stream"])
async def test_t_rest_08_a_wrong_value_is_refused_by_name(
    http: Served, path: str, more: dict[str, Any], field: str
) -> None:
    reply = await http.client.post(path, json=ask(**more), headers=http.user)
    assert reply.status_code == 400
    assert reply.json()["code"] == "INVALID_REQUEST"
    assert field in json.dumps(reply.json())


@pytest.mark.parametrize("path", ["/inference", "/inference/stream"])
async def test_t_rest_08_a_prompt_longer_than_the_context_is_refused_with_its_size(http: Served, path: str) -> None:
    reply = await http.client.post(path, json=ask(input_data={"text": "x" * 1001}), headers=http.user)
    assert reply.status_code == 400
    assert reply.json()["details"]["max_context"] == 1024


@pytest.mark.parametrize("path", ["/inference", "/inference/stream"])
async def test_t_rest_08_a_model_that_is_not_there_or_not_loaded_or_not_for_text(
    serve_http: ServeHttp, path: str
) -> None:
    http = await serve_http()
    await http.world.services.models.unload("coder")
    for model, status, code in [
        ("nobody", 404, "MODEL_NOT_FOUND"),
        ("coder:9", 404, "MODEL_NOT_FOUND"),
        ("coder", 409, "MODEL_NOT_READY"),
        ("adder", 400, "INVALID_REQUEST"),
        ("b$(touch x)", 400, "INVALID_REQUEST"),
        ("../etc", 400, "INVALID_REQUEST"),
    ]:
        reply = await http.client.post(path, json=ask(model_id=model), headers=http.user)
        assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_t_rest_09_a_stream_is_one_data_line_for_each_token_and_done(http: Served) -> None:
    reply = await http.client.post("/inference/stream", json=ASK, headers=http.user)
    assert reply.text == (
        'data: {"token":"a","index":0}\n\n'
        'data: {"token":" b","index":1}\n\n'
        'data: {"token":" c","index":2,"is_final":true,"finish_reason":"stop"}\n\n'
        "data: [DONE]\n\n"
    )
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-cache"
    assert "content-encoding" not in reply.headers


async def test_t_rest_09_who_asks_for_an_event_stream_gets_the_same_bytes_as_one(http: Served) -> None:
    plain = await http.client.post("/v1/inference/stream", json=ASK, headers=http.user)
    headers = {**http.user, "Accept": "text/event-stream"}
    reply = await http.client.post("/v1/inference/stream", json=ASK, headers=headers)
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.content == plain.content


async def test_t_rest_09_a_stream_that_is_not_wanted_as_one_is_the_json_of_inference(http: Served) -> None:
    reply = await http.client.post("/inference/stream", json=ask(stream=False), headers=http.user)
    assert reply.json()["output"]["text"] == "a b c"


async def test_c_auth_09_a_stream_takes_its_token_from_the_query(http: Served) -> None:
    token = http.world.token(Role.USER)
    reply = await http.client.post("/inference/stream", params={"token": token}, json=ASK)
    assert reply.status_code == 200
    assert (await http.client.post("/inference", params={"token": token}, json=ASK)).status_code == 401


async def test_t_rest_09_a_failure_before_the_first_token_has_its_status(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (0, EngineFailed("it broke"))
    reply = await http.client.post("/inference/stream", json=ASK, headers=http.user)
    assert (reply.status_code, reply.json()["code"]) == (500, "PROCESSING_FAILED")
    http.world.triton.fail_at = (0, Unavailable("full", retry_after_seconds=3))
    reply = await http.client.post("/inference/stream", json=ASK, headers=http.user)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "3")


async def test_t_rest_09_a_stream_that_fails_after_the_first_token_ends_with_an_error_event(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (2, EngineFailed("it broke", at=2))
    reply = await http.client.post("/inference/stream", json=ASK, headers=http.user)
    assert reply.status_code == 200
    *tokens, error, done = events(reply.text)
    assert [json.loads(token)["index"] for token in tokens] == [0, 1]
    assert json.loads(error) == {"error": "it broke", "code": "PROCESSING_FAILED", "details": {"at": 2}}
    assert done == "[DONE]"


async def test_t_rest_09_the_first_token_is_there_before_the_second_is_made(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.hold_at = 1
    async with http.client.stream("POST", "/inference/stream", json=ASK, headers=http.user) as reply:
        lines = reply.aiter_lines()
        assert await anext(lines) == 'data: {"token":"a","index":0}'
        http.world.triton.go_on.set()
        assert "data: [DONE]" in [line async for line in lines]


async def test_t_rest_09_a_client_that_leaves_ends_the_request_inside_triton(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.hold_at = 1
    async with http.client.stream("POST", "/inference/stream", json=ASK, headers=http.user) as reply:
        assert await anext(reply.aiter_lines()) == 'data: {"token":"a","index":0}'
    await asyncio.wait_for(http.world.triton.was_closed_early.wait(), 5)
    assert (await http.client.get("/health")).status_code == 200


async def test_a_client_that_leaves_before_the_first_token_ends_the_request_too(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.hold_at = 0
    asking = asyncio.create_task(http.client.post("/inference/stream", json=ASK, headers=http.user))
    await http.world.triton.holding.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(http.world.triton.was_closed_early.wait(), 5)


async def test_two_clients_stream_beside_each_other(http: Served) -> None:
    async def text(words: str) -> str:
        reply = await http.client.post("/inference/stream", json=ask(input_data={"text": words}), headers=http.user)
        return "".join(json.loads(event)["token"] for event in events(reply.text)[:-1])

    prompts = [f"prompt {number} of many" for number in range(20)]
    assert await asyncio.gather(*map(text, prompts)) == prompts


async def test_c_err_09_the_form_is_checked_before_the_role_and_the_role_before_the_model(http: Served) -> None:
    for body, status in [(ask(temperature=9), 400), (ask(model_id="nobody"), 403)]:
        reply = await http.client.post("/inference", json=body, headers=http.viewer)
        assert reply.status_code == status
