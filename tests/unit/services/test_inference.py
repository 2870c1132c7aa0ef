"""Text in one piece, text as a stream, tensors: numbers are measured and failures are told."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest, ModelNotReady
from control_plane.domain.generation import Generation, Sampling
from control_plane.domain.models import ModelState
from control_plane.domain.tensors import Tensor, pack, unpack
from control_plane.services.inference import TensorRequest
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import make_world
from tests.doubles.triton import PROBABILITY


async def test_a_completion_has_a_probability_for_each_token_and_joins_to_its_text() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")

    completion = await world.services.inference.generate(Generation("coder", "one two three"))

    assert completion.tokens == ("one", " two", " three")
    assert completion.probabilities == (PROBABILITY,) * 3
    assert completion.finish_reason == "stop"
    assert completion.tokens_per_second * completion.inference_time_s == pytest.approx(3)


async def test_a_stream_ends_with_one_final_token() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")

    tokens = [token async for token in world.services.inference.stream(Generation("coder", "one two three"))]

    assert [(token.text, token.index, token.is_final) for token in tokens] == [
        ("one", 0, False),
        (" two", 1, False),
        (" three", 2, True),
    ]


async def test_leaving_a_stream_closes_the_one_inside_triton() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    stream = world.services.inference.stream(Generation("coder", "one two three"))
    await anext(stream)

    await stream.aclose()

    assert world.triton.closed_early == 1
    assert world.services.inference.tallies["coder"].in_flight == 0


async def test_options_travel_as_the_parameters_of_the_text_interface() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    sampling = Sampling(max_tokens=2, temperature=0, seed=7, stop_sequences=("\n", "END"), top_k=5)

    await world.services.inference.generate(Generation("coder", "a b c", sampling, "req-1"))

    (request,) = world.triton.requests
    assert dict(request.parameters) == {
        "max_tokens": 2,
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 5,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "seed": 7,
        "stop": '["\\n", "END"]',
        "stream": False,
    }
    assert request.request_id == "req-1"


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": 0},
        {"max_tokens": 4097},
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"seed": 2**63},
        {"frequency_penalty": 2.5},
        {"presence_penalty": -2.5},
        {"stop_sequences": ("a",) * 9},
        {"stop_sequences": ("",)},
    ],
)
def test_a_sampling_option_out_of_bounds_is_refused_not_clamped(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        Sampling(**bad)  # type: ignore[arg-type]


async def test_a_prompt_over_the_context_says_how_long_it_may_be() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")

    with pytest.raises(InvalidRequest) as refused:
        await world.services.inference.generate(Generation("coder", "x" * 2000))

    assert refused.value.details["max_context"] == 1024


async def test_a_model_that_is_not_loaded_is_not_ready() -> None:
    world = await make_world(text_revision("coder"))

    with pytest.raises(ModelNotReady, match="load it first"):
        await world.services.inference.generate(Generation("coder", "a"))


async def test_with_auto_load_the_first_request_loads_the_model() -> None:
    world = await make_world(text_revision("coder"), auto_load=True)

    assert (await world.services.inference.generate(Generation("coder", "a b"))).text == "a b"
    assert world.services.catalog.get("coder").stable.state is ModelState.LOADED


async def test_with_auto_load_an_alias_that_moves_meanwhile_changes_nothing_for_who_has_asked() -> None:
    world = await make_world(text_revision("coder"), text_revision("coder", 2), auto_load=True)
    services, triton = world.services, world.triton
    triton.loads_go_on.clear()
    changes = [
        asyncio.create_task(change) for change in (services.models.load("coder:2"), services.models.promote("coder:2"))
    ]
    await asyncio.sleep(0)
    asked = asyncio.create_task(services.inference.generate(Generation("coder", "a b")))
    await asyncio.sleep(0)
    triton.loads_go_on.set()
    await asyncio.gather(*changes)

    assert (await asked).text == "a b"
    assert services.catalog.resolve("coder").revision.number == 2
    assert triton.requests[-1].directory == "coder--r1"


async def test_who_has_looked_a_model_up_is_answered_by_what_he_has_seen() -> None:
    world = await make_world(text_revision("coder"), text_revision("coder", 2))
    for reference in ("coder:1", "coder:2"):
        await world.services.models.load(reference)
    found = world.services.catalog.resolve("coder")
    await world.services.models.promote("coder:2")

    await world.services.inference.generate(Generation("coder", "a b"), found)
    _ = [token async for token in world.services.inference.stream(Generation("coder", "a b"), found)]
    await world.services.inference.generate(Generation("coder", "a b"))

    assert [request.directory for request in world.triton.requests] == ["coder--r1", "coder--r1", "coder--r2"]


async def test_text_from_a_tensor_model_names_the_route_that_works() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")

    with pytest.raises(InvalidRequest, match="/v2/models/mlp/infer"):
        await world.services.inference.generate(Generation("mlp", "a"))


async def test_tensors_come_back_from_the_revision_that_ran_them() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")

    answer = await world.services.inference.infer(TensorRequest("mlp", (pack("input", "FP32", [1, 4], [1, 2, 3, 4]),)))

    assert unpack(answer.outputs[0]) == [2, 4, 6, 8]
    assert answer.revision.number == 1


async def test_a_tensor_whose_bytes_do_not_fill_its_shape_never_reaches_triton() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")

    with pytest.raises(InvalidRequest, match="needs 16 bytes, got 4"):
        await world.services.inference.infer(TensorRequest("mlp", (Tensor("input", "FP32", (1, 4), b"\0" * 4),)))

    assert world.triton.requests == []


async def test_failures_and_successes_are_counted_apart() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    await world.services.inference.generate(Generation("coder", "a b"))
    world.triton.fail_at = (0, EngineFailed("boom"))
    with pytest.raises(EngineFailed):
        await world.services.inference.generate(Generation("coder", "a b"))

    tally = world.services.inference.tallies["coder"]
    assert (tally.successes, tally.failures, tally.tokens, sum(tally.seconds.counts)) == (1, 1, 2, 1)


async def test_a_request_that_the_model_refuses_is_no_failure_of_serving() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    with pytest.raises(InvalidRequest):
        await world.services.inference.generate(Generation("coder", "x" * 2000))

    tally = world.services.inference.tallies["coder"]
    assert (tally.successes, tally.failures, tally.refusals, tally.in_flight) == (0, 0, 1, 0)
    assert world.services.inference.meter.look()[0].work.failures == 1


async def test_an_error_names_the_model_as_its_caller_does() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.fail_at = (0, EngineFailed("Failed to process the request(s) for model 'coder--r1'"))

    with pytest.raises(EngineFailed) as failed:
        await world.services.inference.generate(Generation("coder", "a b"))

    assert failed.value.message == "Failed to process the request(s) for model 'coder:1'"
