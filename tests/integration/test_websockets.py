"""WebSockets of the real server: tokens out of a real Triton, and a thousand connections at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.socket_client import open_connections
from tests.integration.test_streams import PROMPTS, body, triton_says
from tests.product import ServerProcess

CODER = "/ws/inference/stdlib-coder"


@asynccontextmanager
async def opened(product: ServerProcess, path: str) -> AsyncIterator[ClientConnection]:
    address = product.url.replace("http", "ws") + path
    async with connect(address, additional_headers=product.headers, proxy=None) as socket:
        yield socket


async def say(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


async def hear(socket: ClientConnection) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 30))
    return frame


async def generated(product: ServerProcess, prompt: str) -> tuple[list[str], dict[str, Any]]:
    """The tokens of a run and how it ended."""
    async with opened(product, CODER) as socket:
        await say(socket, "start_inference", input_data=prompt, max_length=40, seed=3)
        tokens = []
        while (frame := await hear(socket))["type"] == "inference_token":
            assert frame["index"] == len(tokens)
            tokens.append(frame["token"])
        return tokens, frame


async def test_t_ws_06_two_sockets_at_once_each_get_the_text_that_rest_gives(product: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=product.url, headers=product.headers, timeout=60) as client:
        alone = [(await client.post("/inference", json=body(prompt))).json()["output"] for prompt in PROMPTS]
    together = await asyncio.gather(*(generated(product, prompt) for prompt in PROMPTS))
    for output, (tokens, complete) in zip(alone, together, strict=True):
        assert tokens == output["tokens"]
        assert complete["text"] == output["text"]
        assert (complete["tokens_generated"], complete["finish_reason"]) == (len(tokens), output["finish_reason"])
        assert complete["tokens_per_second"] * complete["inference_time"] == len(tokens)


async def test_t_ws_06_sockets_that_close_or_stop_end_their_runs_inside_triton(product: ServerProcess) -> None:
    async def begin_and(leave: bool) -> None:
        async with opened(product, CODER) as socket:
            await say(socket, "start_inference", input_data="import", max_length=1000, temperature=1.5, seed=1)
            assert (await hear(socket))["type"] == "inference_token"
            if leave:
                return
            await say(socket, "stop_inference")
            while (frame := await hear(socket))["type"] != "inference_complete":
                pass
            assert frame["finish_reason"] == "cancelled"

    async with httpx.AsyncClient(base_url=product.url, headers=product.headers, timeout=60) as client:
        cancelled = await triton_says(client, "text_generation_cancelled")
        await asyncio.gather(*(begin_and(leave=place % 2 == 0) for place in range(6)))
        async with asyncio.timeout(10):
            while await triton_says(client, "text_generation_cancelled") < cancelled + 6:  # noqa: ASYNC110 - it is only to be asked
                await asyncio.sleep(0.05)


async def test_t_ws_03_the_tokens_of_a_rest_request_reach_who_listens(product: ServerProcess) -> None:
    async with (
        opened(product, "/v1/ws") as socket,
        httpx.AsyncClient(base_url=product.url, headers=product.headers, timeout=60) as client,
    ):
        await say(socket, "subscribe_inference", model_id="stdlib-coder")
        assert (await hear(socket))["type"] == "subscription_confirmed"
        output = (await client.post("/inference", json=body(PROMPTS[0]))).json()["output"]
        assert [(await hear(socket))["token"] for _ in output["tokens"]] == output["tokens"]


async def test_a_thousand_sockets_are_held_and_each_is_answered(product: ServerProcess) -> None:
    connections = await open_connections(product.url, product.admin_key, 1000)
    try:
        times_s = [await connection.ping() for connection in connections]
        times_s += await asyncio.gather(*(connection.ping() for connection in connections))
        assert len(times_s) == 2000
        assert not any(connection.is_lost for connection in connections)
    finally:
        for connection in connections:
            connection.close()
