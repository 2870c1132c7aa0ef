"""Images over GraphQL (T-REST-19, 20 by T-GQL-08 and 10): one text in, JSON as text out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.conftest import ServeHttp
from tests.contract.served import Served, serving
from tests.contract.truthgpt.graphql_client import begun, data, error
from tests.contract.truthgpt.pictures import DIFFUSION, HYBRID, drawing_world, png_files

OUTPUT = {"images", "width", "height", "num_steps", "seed", "stages", "unit"}
RUN = (
    "mutation($model: String!, $input: String!, $seed: BigInt) { runInference(modelId: $model, inputData: $input,"
    " seed: $seed) { modelId output inferenceTime tokensPerSecond createdAt } }"
)
STREAM = "subscription($model: String!, $input: String!) { inferenceStream(modelId: $model, inputData: $input) }"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def drawing() -> AsyncIterator[Served]:
    async with serving(await drawing_world()) as served:
        yield served


async def run(http: Served, model: str, given: str, seed: int | None = None) -> Any:
    return (await data(http, RUN, http.user, model=model, input=given, seed=seed))["runInference"]


async def test_t_gql_08_a_prompt_is_answered_with_the_images_as_json_text(drawing: Served) -> None:
    result = await run(drawing, HYBRID, "a seven", seed=11)
    output = json.loads(result["output"])
    assert (result["modelId"], set(output), output["seed"], output["unit"]) == (HYBRID, OUTPUT, 11, "steps")
    assert len(png_files(output)) == 1
    assert len(output["stages"]) >= 2
    assert result["tokensPerSecond"] * result["inferenceTime"] == pytest.approx(20, rel=0.01)
    again = await run(drawing, HYBRID, json.dumps({"text": "a seven", "seed": 11}))
    assert json.loads(again["output"])["images"] == output["images"]
    other = await run(drawing, HYBRID, "a seven", seed=12)
    assert json.loads(other["output"])["images"] != output["images"]


async def test_t_gql_08_a_model_that_draws_by_label_takes_an_object_and_the_arguments_seed_wins(
    drawing: Served,
) -> None:
    given = json.dumps({"label": "7", "num_steps": 4, "num_images": 2, "seed": 1})
    output = json.loads((await run(drawing, DIFFUSION, given, seed=5))["output"])
    assert (output["num_steps"], output["seed"], len(png_files(output))) == (4, 5, 2)


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (DIFFUSION, "a seven", "takes no text"),
        (DIFFUSION, '{"num_steps": 0}', "num_steps"),
        (DIFFUSION, '{"num_steps": ', "JSON"),
        (DIFFUSION, '{"label": "eleven"}', "no label 'eleven'"),
        (HYBRID, "", "draws what a text says"),
    ],
)
async def test_t_gql_08_what_a_model_cannot_draw_is_refused(drawing: Served, model: str, given: str, said: str) -> None:
    refused = await error(drawing, RUN, drawing.user, model=model, input=given)
    assert refused["extensions"]["code"] == "INVALID_REQUEST"
    assert said in refused["message"]


@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
async def test_t_gql_10_each_step_is_an_event_and_the_images_are_the_last(drawing: Served, protocol: str) -> None:
    async with begun(drawing, protocol) as socket:
        await socket.start(STREAM, model=DIFFUSION, input='{"num_steps": 3, "label": "7"}')
        told = [json.loads(result["data"]["inferenceStream"]) for result in await socket.results()]
    assert told[:-1] == [{"step": step, "num_steps": 3} for step in (1, 2, 3)]
    assert set(told[-1]) == OUTPUT
    assert len(png_files(told[-1])) == 1


async def test_t_gql_10_unsubscribing_ends_the_drawing_inside_triton(serve_http: ServeHttp) -> None:
    http = await serve_http(await drawing_world())
    http.world.triton.hold_at = 1
    async with begun(http, "graphql-transport-ws") as socket:
        await socket.start(STREAM, model=HYBRID, input="a seven")
        await http.world.triton.holding.wait()
        await socket.stop()
        async with asyncio.timeout(5):
            await http.world.triton.was_closed_early.wait()
