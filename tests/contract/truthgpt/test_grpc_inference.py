"""Text over gRPC: T-GRPC-08, T-GRPC-09, what an unset number means (D-09), and streams that end early."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineCrashed, EngineFailed, Unavailable
from control_plane.domain.triton import TritonState
from tests.contract.truthgpt.conftest import Serve, Served
from tests.contract.truthgpt.grpc_client import trailers
from tests.doubles.triton import PROBABILITY

PROMPT = "def f ( x ) :"
TOKENS = ["def", " f", " (", " x", " )", " :"]


async def run(served: Served, **fields: Any) -> Any:
    request = served.pb.InferenceRequest(**{"model_id": "coder", "input_text": PROMPT} | fields)
    return await served.stub.RunInference(request, metadata=served.as_role(Role.USER))


def stream(served: Served, **fields: Any) -> Any:
    request = served.pb.StreamInferenceRequest(**{"model_id": "coder", "input_text": PROMPT} | fields)
    return served.stub.StreamInference(request, metadata=served.as_role(Role.USER))


def sent(served: Served) -> dict[str, Any]:
    """The options of the request that reached Triton last."""
    return dict(served.world.triton.requests[-1].parameters)


async def test_t_grpc_08_an_answer_has_the_text_its_tokens_and_what_was_measured(served: Served) -> None:
    before = datetime.now(UTC)
    answer = await run(served)
    assert (answer.model_id, answer.output_text, list(answer.tokens)) == ("coder", PROMPT, TOKENS)
    assert list(answer.probabilities) == [PROBABILITY] * len(TOKENS)
    assert answer.inference_time > 0
    assert answer.tokens_per_second * answer.inference_time == pytest.approx(len(TOKENS), rel=0.01)
    assert answer.created_at.endswith("Z")
    assert abs((datetime.fromisoformat(answer.created_at) - before).total_seconds()) < 60


async def test_t_grpc_08_what_is_unset_has_its_default_but_temperature_0_is_greedy(served: Served) -> None:
    await run(served)
    assert {name: sent(served)[name] for name in ("max_tokens", "temperature", "top_p")} == {
        "max_tokens": 100,
        "temperature": 0.0,
        "top_p": 0.9,
    }


async def test_t_grpc_08_what_is_set_reaches_triton(served: Served) -> None:
    answer = await run(served, max_length=2, temperature=0.5, top_p=0.25)
    assert {name: sent(served)[name] for name in ("max_tokens", "temperature", "top_p")} == {
        "max_tokens": 2,
        "temperature": 0.5,
        "top_p": 0.25,
    }
    assert list(answer.tokens) == TOKENS[:2]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model_id": "nobody"}, grpc.StatusCode.NOT_FOUND),
        ({"model_id": "coder:9"}, grpc.StatusCode.NOT_FOUND),
        ({"model_id": "b$(touch x)"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"model_id": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"model_id": "vector"}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"max_length": -1}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"max_length": 4097}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"temperature": -0.5}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"temperature": 2.5}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"temperature": float("nan")}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"top_p": 1.5}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"top_p": -0.5}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"input_text": "x" * 2000}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_t_grpc_08_and_09_what_cannot_be_answered_is_a_status(
    served: Served, fields: dict[str, Any], code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await run(served, **fields)
    assert refused.value.code() is code
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream(served, **fields).read()
    assert refused.value.code() is code


async def test_t_grpc_08_a_tensor_model_does_not_generate_text(served: Served) -> None:
    await served.world.services.models.load("vector")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await run(served, model_id="vector")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (EngineFailed("the model ran out of ideas"), grpc.StatusCode.INTERNAL, "the model ran out of ideas"),
        (EngineCrashed("the stub died"), grpc.StatusCode.INTERNAL, "the stub died"),
        (Unavailable("Triton is down", retry_after_seconds=1.2), grpc.StatusCode.UNAVAILABLE, "Triton is down"),
    ],
)
async def test_t_grpc_08_a_failure_in_triton_is_its_status_with_the_reason(
    served: Served, failure: Exception, code: grpc.StatusCode, said: str
) -> None:
    served.world.triton.fail_at = (0, failure)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await run(served)
    assert (refused.value.code(), refused.value.details()) == (code, said)
    assert trailers(refused.value.trailing_metadata()).get("retry-after") == (
        "2" if code is grpc.StatusCode.UNAVAILABLE else None
    )


async def test_t_grpc_09_a_stream_has_the_tokens_in_order_and_exactly_the_last_is_final(served: Served) -> None:
    tokens = [token async for token in stream(served)]
    assert [token.token for token in tokens] == TOKENS
    assert [token.index for token in tokens] == list(range(len(TOKENS)))
    assert [token.probability for token in tokens] == [PROBABILITY] * len(TOKENS)
    assert [token.is_final for token in tokens] == [False] * (len(TOKENS) - 1) + [True]


async def test_t_grpc_09_two_streams_at_once_do_not_mix(served: Served) -> None:
    async def text(prompt: str) -> str:
        return "".join([token.token async for token in stream(served, input_text=prompt)])

    prompts = [f"prompt number {number} of many" for number in range(20)]
    assert await asyncio.gather(*map(text, prompts)) == prompts


async def test_t_grpc_09_a_stream_that_fails_after_its_second_token_ends_with_the_status(served: Served) -> None:
    served.world.triton.fail_at = (2, EngineFailed("the model ran out of ideas"))
    tokens, failed = await cut_short(stream(served))
    assert [(token.token, token.is_final) for token in tokens] == [("def", False), (" f", False)]
    assert failed.code() is grpc.StatusCode.INTERNAL
    assert trailers(failed.trailing_metadata())["x-error-code"] == "PROCESSING_FAILED"


async def test_t_grpc_09_a_stream_that_ends_without_its_last_token_is_a_failure(served: Served) -> None:
    served.world.triton.forgets_to_finish = True
    tokens, failed = await cut_short(stream(served))
    assert [token.is_final for token in tokens] == [False] * len(TOKENS)
    assert failed.code() is grpc.StatusCode.INTERNAL


async def test_t_grpc_09_a_client_that_cancels_ends_the_request_inside_triton(served: Served) -> None:
    triton = served.world.triton
    triton.hold_at = 2
    call = stream(served)
    assert (await call.read()).token == "def"
    await asyncio.wait_for(triton.holding.wait(), 5)
    assert triton.closed_early == 0
    call.cancel()
    assert await closed_early(served) == 1
    tally = served.world.services.inference.tallies["coder"]
    assert (tally.failures, tally.in_flight, tally.tokens) == (0, 0, 2)


async def test_t_grpc_08_a_deadline_that_passes_ends_the_request_inside_triton(served: Served) -> None:
    triton, timeout_s = served.world.triton, 0.2
    triton.hold_at = 0
    request = served.pb.StreamInferenceRequest(model_id="coder", input_text=PROMPT)
    while not triton.requests:  # on a busy machine a deadline may pass before Triton is asked
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await served.stub.StreamInference(request, metadata=served.as_role(Role.USER), timeout=timeout_s).read()
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        timeout_s *= 2
    await closed_early(served)
    assert triton.closed_early == len(triton.requests)


async def test_a_client_that_reads_slowly_and_leaves_ends_the_request_inside_triton(served: Served) -> None:
    """Cancelled while the answer is being written, not while Triton is asked: the generator is closed all the same."""
    served.world.triton.repeat = 100_000
    call = stream(served, input_text=" ".join(["many" * 10] * 20))
    await call.read()
    await asyncio.sleep(0.1)
    call.cancel()
    assert await closed_early(served) == 1


async def test_a_model_whose_server_is_coming_back_is_unavailable_for_a_moment(serve: Serve) -> None:
    served = await serve()
    served.world.triton.loaded.clear()
    served.world.server.state = TritonState.STARTING
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await run(served)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert trailers(refused.value.trailing_metadata())["retry-after"] == "2"


async def test_the_request_id_reaches_triton(served: Served) -> None:
    metadata = (*served.as_role(Role.USER), ("x-request-id", "from-the-caller"))
    await served.stub.RunInference(served.pb.InferenceRequest(model_id="coder", input_text=PROMPT), metadata=metadata)
    assert served.world.triton.requests[-1].request_id == "from-the-caller"


async def cut_short(call: Any) -> tuple[list[Any], grpc.aio.AioRpcError]:
    """The tokens of a stream that fails, and its failure."""
    tokens = []
    try:
        async for token in call:
            tokens.append(token)
    except grpc.aio.AioRpcError as error:
        return tokens, error
    raise AssertionError(f"the stream ended well after {len(tokens)} tokens")


async def closed_early(served: Served) -> int:
    """How many requests ended in Triton before their last token, once there is one."""
    async with asyncio.timeout(5):
        await served.world.triton.was_closed_early.wait()
    return served.world.triton.closed_early
