"""GraphQL on the real server: tokens out of a real Triton, in both subprotocols, to a client that is not ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from tests.integration.test_streams import triton_says
from tests.product import ServerProcess

both = pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
PROMPT = "def read_json(path):\n"
STREAM = """subscription ($text: String!) {
  inferenceStream(modelId: "stdlib-coder", inputData: $text, maxLength: 24, temperature: 0)
}"""
DRAW = 'subscription ($wanted: String!) { inferenceStream(modelId: "digits-diffusion", inputData: $wanted) }'
RUN = """mutation ($text: String!) {
  runInference(modelId: "stdlib-coder", inputData: $text, maxLength: 24, temperature: 0) {
    output inferenceTime tokensPerSecond
  }
}"""


def following(product: ServerProcess, protocol: str) -> Client:
    url = f"{product.url.replace('http', 'ws')}/graphql"
    transport = WebsocketsTransport(url=url, init_payload=product.headers, subprotocols=[protocol])  # type: ignore[list-item]
    return Client(transport=transport)


def document(written: str, **variables: Any) -> Any:
    request = gql(written)
    request.variable_values = variables
    return request


@both
async def test_t_gql_10_the_pieces_of_a_stream_are_the_text_that_one_answer_has(
    product: ServerProcess, protocol: str
) -> None:
    async with following(product, protocol) as session:
        whole = (await session.execute(document(RUN, text=PROMPT)))["runInference"]
        pieces = [result["inferenceStream"] async for result in session.subscribe(document(STREAM, text=PROMPT))]
    assert len(pieces) > 1
    assert "".join(pieces) == whole["output"]
    assert whole["tokensPerSecond"] * whole["inferenceTime"] == pytest.approx(len(pieces), rel=0.05)


@both
async def test_t_gql_10_who_leaves_a_stream_ends_it_inside_triton(product: ServerProcess, protocol: str) -> None:
    """Eight images in a hundred steps: a text may be over before its first piece is read, on a busy machine."""
    wanted = document(DRAW, wanted=json.dumps({"label": "7", "num_steps": 100, "num_images": 8}))
    async with httpx.AsyncClient(base_url=product.url, headers=product.headers, timeout=60) as client:
        cancelled = await triton_says(client, "diffusion_cancelled", "digits-diffusion")
        async with following(product, protocol) as session:
            for _ in range(4):
                subscription = session.subscribe(wanted)
                await anext(subscription)
                await subscription.aclose()
            # The connection lives on.
            assert await session.execute(document("{ models { name } }"))
        async with asyncio.timeout(10):
            while await triton_says(client, "diffusion_cancelled", "digits-diffusion") < cancelled + 4:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while await triton_says(client, "diffusion_busy", "digits-diffusion") > 0:  # noqa: ASYNC110 - a metric
                await asyncio.sleep(0.05)
        assert await triton_says(client, "diffusion_cancelled", "digits-diffusion") == cancelled + 4


async def test_t_gql_12_a_prompt_beyond_the_models_context_is_refused_with_its_size(product: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=product.url, headers=product.headers, timeout=60) as client:
        body = {"query": RUN, "variables": {"text": "x = 1\n" * 5000}}
        (error,) = (await client.post("/graphql", json=body)).json()["errors"]
    assert error["extensions"]["code"] == "INVALID_REQUEST"
    assert error["extensions"]["details"]["max_context"] >= 1024
