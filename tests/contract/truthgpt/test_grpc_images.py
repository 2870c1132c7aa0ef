"""Images over gRPC (T-REST-19, 20 by T-GRPC-08 and 09): the seed's messages have one text for all of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from tests.contract.truthgpt.conftest import Serve, Served
from tests.contract.truthgpt.pictures import DIFFUSION, HYBRID, drawing_world, png_files

OUTPUT = {"images", "width", "height", "num_steps", "seed", "stages", "unit"}


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve(await drawing_world())


async def run(served: Served, model: str, text: str, **fields: Any) -> Any:
    request = served.pb.InferenceRequest(model_id=model, input_text=text, **fields)
    return await served.stub.RunInference(request, metadata=served.as_role(Role.USER))


def stream(served: Served, model: str, text: str) -> Any:
    request = served.pb.StreamInferenceRequest(model_id=model, input_text=text)
    return served.stub.StreamInference(request, metadata=served.as_role(Role.USER))


async def test_t_grpc_08_a_prompt_or_a_json_object_is_answered_with_the_images_as_json(served: Served) -> None:
    # Numbers of texts, which a client of the seed may send with anything, mean nothing here.
    plain = await run(served, HYBRID, "a seven", max_length=50, temperature=0.5, top_p=0.5)
    assert (plain.model_id, list(plain.tokens), list(plain.probabilities)) == (HYBRID, [], [])
    output = json.loads(plain.output_text)
    assert set(output) == OUTPUT
    assert len(png_files(output)) == 1
    assert plain.tokens_per_second * plain.inference_time == pytest.approx(20, rel=0.01)
    assert plain.created_at.endswith("Z")
    again = await run(served, HYBRID, json.dumps({"text": "a seven", "seed": output["seed"]}))
    assert json.loads(again.output_text)["images"] == output["images"]


@pytest.mark.parametrize("text", ["", "{}", ' {"num_steps": 2, "num_images": 3, "label": "7", "seed": 5}'])
async def test_t_grpc_08_a_model_that_draws_by_label_takes_options_or_nothing(served: Served, text: str) -> None:
    output = json.loads((await run(served, DIFFUSION, text)).output_text)
    wanted = json.loads(text or "{}")
    assert (output["num_steps"], len(png_files(output))) == (wanted.get("num_steps", 20), wanted.get("num_images", 1))


@pytest.mark.parametrize(
    ("model", "text", "said"),
    [
        (DIFFUSION, "a seven", "takes no text"),
        (DIFFUSION, '{"num_steps": 0}', "num_steps"),
        (DIFFUSION, '{"num_steps": "ten"}', "num_steps"),
        (DIFFUSION, '{"num_steps": ', "JSON"),
        (DIFFUSION, '{"label": "eleven"}', "eleven"),
        (HYBRID, "", "text"),
        (HYBRID, "{}", "text"),
        (HYBRID, '{"text": 7}', "text"),
    ],
)
async def test_t_grpc_08_and_09_what_cannot_be_drawn_is_an_invalid_argument(
    served: Served, model: str, text: str, said: str
) -> None:
    for call in (run(served, model, text), stream(served, model, text).read()):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert said in refused.value.details()


async def test_t_grpc_09_a_stream_has_the_steps_and_the_images_in_its_last_message(served: Served) -> None:
    text = '{"text": "a seven", "num_steps": 3, "seed": 2}'
    *steps, last = [token async for token in stream(served, HYBRID, text)]
    assert [(json.loads(step.token), step.index, step.is_final) for step in steps] == [
        ({"step": index + 1, "num_steps": 3}, index, False) for index in range(3)
    ]
    assert (last.index, last.is_final, last.probability) == (3, True, 0)
    whole = json.loads((await run(served, HYBRID, text)).output_text)
    assert json.loads(last.token)["images"] == whole["images"]


async def test_t_grpc_09_a_drawing_that_fails_or_is_left_ends(served: Served) -> None:
    triton = served.world.triton
    triton.fail_at = (1, EngineFailed("the part is gone"))
    call = stream(served, DIFFUSION, "")
    assert json.loads((await call.read()).token)["step"] == 1
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INTERNAL, "the part is gone")
    triton.fail_at, triton.hold_at = None, 1
    call = stream(served, DIFFUSION, "")
    await call.read()
    call.cancel()
    await asyncio.wait_for(triton.was_closed_early.wait(), 30)
