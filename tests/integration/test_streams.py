"""Tokens out of a real Triton: whole, apart from each other, and ended when nobody listens."""

from __future__ import annotations

import asyncio
import json

import httpx

from tests.product import ServerProcess

PROMPTS = ("def read_file(path):\n", "class Stack:\n    def __init__(self")


def body(prompt: str, max_length: int = 40, **options: object) -> dict[str, object]:
    return {"model_id": "stdlib-coder", "input_data": {"text": prompt}, "max_length": max_length, "seed": 3, **options}


async def streamed(client: httpx.AsyncClient, prompt: str) -> list[dict[str, object]]:
    answer = (await client.post("/inference/stream", json=body(prompt))).raise_for_status()
    *events, done = answer.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def test_two_clients_at_once_each_get_the_text_they_would_get_alone(product: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=product.url, headers=product.headers, timeout=60) as client:
        alone = [(await client.post("/inference", json=body(prompt))).json()["output"] for prompt in PROMPTS]
        together = await asyncio.gather(*(streamed(client, prompt) for prompt in PROMPTS))

    for output, events in zip(alone, together, strict=True):
        assert "".join(str(event["token"]) for event in events) == output["text"]
        assert [event["index"] for event in events] == list(range(len(output["tokens"])))
        assert [event.get("is_final", False) for event in events].count(True) == 1
        assert events[-1]["finish_reason"] == output["finish_reason"]
    assert alone[0]["text"] != alone[1]["text"]


async def triton_says(client: httpx.AsyncClient, name: str, model: str = "stdlib-coder") -> float:
    """A number of a model from Triton's own metrics, which /metrics shows beside ours."""
    text = (await client.get("/metrics")).raise_for_status().text
    (line,) = [line for line in text.splitlines() if line.startswith(name) and f'model="{model}' in line]
    return float(line.rsplit(" ", 1)[1])


async def begin_and_leave(client: httpx.AsyncClient) -> None:
    wanted = body("import", 1000, temperature=1.5, seed=1)  # with another it may be over before it is left
    async with client.stream("POST", "/inference/stream", json=wanted) as answer:
        async for _ in answer.aiter_bytes():
            return


async def test_clients_that_leave_stop_their_generations_inside_triton(product: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=product.url, headers=product.headers, timeout=60) as client:
        cancelled = await triton_says(client, "text_generation_cancelled")
        tokens = await triton_says(client, "text_generation_tokens")

        await asyncio.gather(*(begin_and_leave(client) for _ in range(8)))

        async with asyncio.timeout(10):
            while await triton_says(client, "text_generation_cancelled") < cancelled + 6:  # noqa: ASYNC110 - a metric
                await asyncio.sleep(0.05)
            while await triton_says(client, "text_generation_busy") > 0:  # noqa: ASYNC110 - a metric
                await asyncio.sleep(0.05)
        assert await triton_says(client, "text_generation_tokens") < tokens + 8 * 900
