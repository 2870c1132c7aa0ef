"""Rate limits over gRPC: the same buckets, RESOURCE_EXHAUSTED with `retry-after` (C-RL-06)."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import pytest

from control_plane.domain.access import Role
from tests.contract.served import serving
from tests.contract.truthgpt.conftest import Serve, Served
from tests.contract.truthgpt.grpc_client import trailers
from tests.doubles.quotas import limited
from tests.doubles.repository import text_revision
from tests.doubles.services import World, make_world

ASK = {"model_id": "coder", "input_data": {"text": "a b c"}}


@pytest.fixture
async def world() -> World:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    return world


async def refusal(call: grpc.aio.Call) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    return await call.code(), await call.details(), trailers(await call.trailing_metadata())


async def infer(served: Served, role: Role = Role.USER) -> grpc.StatusCode:
    call = served.stub.RunInference(
        served.pb.InferenceRequest(model_id="coder", input_text="a b c"), metadata=served.as_role(role)
    )
    return await call.code()  # type: ignore[no-any-return]


async def test_c_rl_06_the_call_after_the_last_is_exhausted_and_says_when_to_retry(serve: Serve, world: World) -> None:
    served = await serve(world, quotas=limited(world.clock))
    assert {await infer(served) for _ in range(10)} == {grpc.StatusCode.OK}
    world.clock.advance(20.5)
    for method, request in (
        ("RunInference", served.pb.InferenceRequest(model_id="coder", input_text="a")),
        ("StreamInference", served.pb.StreamInferenceRequest(model_id="coder", input_text="a")),
    ):
        call = getattr(served.stub, method)(request, metadata=served.as_role(Role.USER))
        code, said, trailing = await refusal(call)
        assert (code, said) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Rate limit exceeded")
        assert (trailing["retry-after"], trailing["x-error-code"]) == ("40", "RATE_LIMIT_EXCEEDED")
    world.clock.advance(40)
    assert await infer(served) is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("method", "message", "limit"),
    [
        ("LoadModel", "LoadModelRequest", 20),
        ("ListModels", "ListModelsRequest", 20),
        ("OptimizeModel", "OptimizeModelRequest", 5),
        ("GetOptimizationStatus", "GetOptimizationStatusRequest", 100),
    ],
)
async def test_c_rl_02_a_method_counts_in_its_class(
    serve: Serve, world: World, method: str, message: str, limit: int
) -> None:
    quotas = limited(world.clock)
    served = await serve(world, quotas=quotas)
    request = getattr(served.pb, message)()
    for name, value in {"model_name": "coder", "model_id": "coder", "optimization_level": "basic"}.items():
        if name in request.DESCRIPTOR.fields_by_name:
            setattr(request, name, value)
    call = getattr(served.stub, method)
    for _ in range(limit if method != "GetOptimizationStatus" else 3):
        await call(request, metadata=served.admin)
    if method == "GetOptimizationStatus":  # an unknown object costs nothing
        return
    assert await call(request, metadata=served.admin).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_c_rl_06_rest_and_grpc_count_in_the_same_buckets(serve: Serve, world: World) -> None:
    quotas = limited(world.clock)
    served = await serve(world, quotas=quotas)
    async with serving(world, quotas=quotas) as http:
        for number in range(5):
            assert await infer(served) is grpc.StatusCode.OK
            reply = await http.client.post("/inference", json=ASK, headers=http.user)
            assert (reply.status_code, reply.headers["X-RateLimit-Remaining"]) == (200, str(8 - 2 * number))
        assert await infer(served) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await http.client.post("/inference", json=ASK, headers=http.user)).status_code == 429


async def test_c_err_09_calls_that_are_refused_cost_nothing(serve: Serve, world: World) -> None:
    served = await serve(world, quotas=limited(world.clock))
    for _ in range(25):
        for method, request, role, code in (
            ("RunInference", served.pb.InferenceRequest(model_id="nobody"), Role.USER, grpc.StatusCode.NOT_FOUND),
            (
                "RunInference",
                served.pb.InferenceRequest(model_id="coder"),
                Role.VIEWER,
                grpc.StatusCode.PERMISSION_DENIED,
            ),
            ("GetModel", served.pb.GetModelRequest(model_id="nobody"), Role.VIEWER, grpc.StatusCode.OK),
        ):
            call = getattr(served.stub, method)(request, metadata=served.as_role(role))
            assert await call.code() is code
    assert await infer(served) is grpc.StatusCode.OK


async def test_c_rl_07_health_is_never_limited(serve: Serve, world: World) -> None:
    served = await serve(world, quotas=limited(world.clock, max_in_flight=1))
    for _ in range(101):
        assert (await served.stub.HealthCheck(served.pb.HealthCheckRequest())).status == "healthy"


async def test_c_rl_05_without_a_credential_a_caller_is_its_address(serve: Serve) -> None:
    world = await make_world(text_revision("coder"), anonymous_role=Role.USER)
    await world.services.models.load("coder")
    served = await serve(world, quotas=limited(world.clock, trusted_proxies=("127.0.0.1",)))
    made_up = itertools.count()

    async def ask(address: str) -> grpc.StatusCode:
        request = served.pb.InferenceRequest(model_id="coder", input_text="a")
        # The first is of the caller's own making; some proxies add theirs as another one.
        metadata = (("x-forwarded-for", f"6.6.6.{next(made_up)}"), ("x-forwarded-for", address))
        call = served.stub.RunInference(request, metadata=metadata)
        return await call.code()  # type: ignore[no-any-return]

    assert {await ask("1.2.3.4") for _ in range(10)} == {grpc.StatusCode.OK}
    assert await ask("1.2.3.4") is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await ask("1.2.3.5") is grpc.StatusCode.OK


async def test_c_rl_03_a_stream_is_in_flight_until_its_caller_leaves(serve: Serve, world: World) -> None:
    served = await serve(world, quotas=limited(world.clock, "standard", max_in_flight=1))
    world.triton.hold_at = 1
    request = served.pb.StreamInferenceRequest(model_id="coder", input_text="a b c")
    stream = served.stub.StreamInference(request, metadata=served.as_role(Role.USER))
    await stream.read()
    code, _, trailing = await refusal(
        served.stub.ListModels(served.pb.ListModelsRequest(), metadata=served.as_role(Role.USER))
    )
    assert (code, trailing["retry-after"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "1")
    stream.cancel()
    await world.triton.was_closed_early.wait()
    code = None
    async with asyncio.timeout(30):
        while code is not grpc.StatusCode.OK:
            call = served.stub.ListModels(served.pb.ListModelsRequest(), metadata=served.as_role(Role.USER))
            code = await call.code()
            await asyncio.sleep(0.01)
