"""Who may call what over gRPC (C-AUTH-11, C-AUTH-06), request ids (T-GRPC-13), and errors as statuses."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from control_plane.domain.access import ApiKey, Claims, Role
from control_plane.edge.refusals import unexpected
from tests.contract.truthgpt.conftest import Serve, Served
from tests.contract.truthgpt.grpc_client import trailers
from tests.doubles.repository import text_revision
from tests.doubles.services import make_world

NEEDS = {
    "ListModels": ("ListModelsRequest", Role.VIEWER),
    "GetModel": ("GetModelRequest", Role.VIEWER),
    "GetOptimizationStatus": ("GetOptimizationStatusRequest", Role.VIEWER),
    "RunInference": ("InferenceRequest", Role.USER),
    "StreamInference": ("StreamInferenceRequest", Role.USER),
    "BenchmarkModel": ("BenchmarkModelRequest", Role.USER),
    "LoadModel": ("LoadModelRequest", Role.ADMIN),
    "UnloadModel": ("UnloadModelRequest", Role.ADMIN),
    "OptimizeModel": ("OptimizeModelRequest", Role.ADMIN),
    "CancelOptimization": ("CancelOptimizationRequest", Role.ADMIN),
}
NOT_YET = ("BenchmarkModel",)
Metadata = tuple[tuple[str, str], ...]


async def ask(served: Served, method: str, metadata: Metadata = ()) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """The status, its text and the trailers of an empty request."""
    call = getattr(served.stub, method)(getattr(served.pb, NEEDS[method][0])(), metadata=metadata)
    code, details = await call.code(), await call.details()
    return code, details, trailers(await call.trailing_metadata())


@pytest.mark.parametrize("method", NEEDS)
async def test_c_auth_11_a_call_without_a_credential_is_not_authenticated(served: Served, method: str) -> None:
    code, _, trailing = await ask(served, method)
    assert (code, trailing["x-error-code"]) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHORIZED")


@pytest.mark.parametrize("method", NEEDS)
@pytest.mark.parametrize("role", Role)
async def test_c_auth_06_a_method_is_open_to_its_role_and_the_ones_above(
    served: Served, method: str, role: Role
) -> None:
    code, _, trailing = await ask(served, method, served.as_role(role))
    refused = not role.covers(NEEDS[method][1])
    assert (code is grpc.StatusCode.PERMISSION_DENIED) is refused
    assert (trailing.get("x-error-code") == "FORBIDDEN") is refused


async def test_c_auth_06_with_user_can_manage_a_user_loads_models(serve: Serve) -> None:
    served = await serve(await make_world(text_revision("coder"), user_can_manage=True))
    request = served.pb.LoadModelRequest(model_name="coder")
    assert (await served.stub.LoadModel(request, metadata=served.as_role(Role.USER))).success


async def test_c_auth_11_an_api_key_works_in_either_place(served: Served) -> None:
    key, digest = "tpk_of-a-viewer", served.world.credentials.digest("tpk_of-a-viewer")
    await served.world.keys.add(ApiKey("key_1", digest, "a viewer's", Role.VIEWER, served.world.clock.now()))
    for metadata in ((("x-api-key", key),), (("authorization", f"Bearer {key}"),)):
        assert (await ask(served, "ListModels", metadata))[0] is grpc.StatusCode.OK
        assert (await ask(served, "LoadModel", metadata))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Bearer tpk_unknown"),),
        (("authorization", "Bearer a.b.c"),),
        (("authorization", "Basic YWRtaW46YWRtaW4="),),
        (("authorization", ""),),
        (("x-api-key", "tpk_unknown"),),
    ],
)
async def test_c_auth_11_a_credential_that_is_wrong_is_not_authenticated(served: Served, metadata: Metadata) -> None:
    assert (await ask(served, "ListModels", metadata))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_c_auth_11_a_token_that_has_expired_is_not_authenticated(served: Served) -> None:
    token = served.world.credentials.sign(Claims("somebody", Role.ADMIN, 1.0))
    code, said, _ = await ask(served, "ListModels", (("authorization", f"Bearer {token}"),))
    assert (code, said) == (grpc.StatusCode.UNAUTHENTICATED, "the token has expired")


async def test_c_auth_03_with_two_credentials_both_must_be_valid(served: Served) -> None:
    metadata = (*served.admin, ("x-api-key", "tpk_unknown"))
    assert (await ask(served, "ListModels", metadata))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_c_auth_14_an_anonymous_role_serves_calls_without_a_credential(serve: Serve) -> None:
    served = await serve(await make_world(text_revision("coder"), anonymous_role=Role.VIEWER))
    assert (await ask(served, "ListModels"))[0] is grpc.StatusCode.OK
    assert (await ask(served, "RunInference"))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_c_auth_07_health_needs_no_credential_and_ignores_a_wrong_one(served: Served) -> None:
    for metadata in ((), (("authorization", "Bearer nonsense"),)):
        answer = await served.stub.HealthCheck(served.pb.HealthCheckRequest(), metadata=metadata)
        assert answer.status == "healthy"


async def test_t_grpc_13_the_callers_request_id_comes_back_on_success_and_failure(served: Served) -> None:
    mine = ("x-request-id", "mine-1.2_3")
    assert (await ask(served, "ListModels", (*served.admin, mine)))[2]["x-request-id"] == "mine-1.2_3"
    assert (await ask(served, "ListModels", (mine,)))[2]["x-request-id"] == "mine-1.2_3"
    assert (await ask(served, "UnloadModel", (*served.admin, mine)))[2]["x-request-id"] == "mine-1.2_3"
    call = served.stub.HealthCheck(served.pb.HealthCheckRequest(), metadata=(mine,))
    await call
    assert trailers(await call.trailing_metadata())["x-request-id"] == "mine-1.2_3"


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, "semi;colon"])
async def test_t_grpc_13_an_unusable_request_id_is_replaced(served: Served, given: str) -> None:
    ids = {(await ask(served, "ListModels", (*served.admin, ("x-request-id", given))))[2]["x-request-id"] for _ in "12"}
    assert given not in ids
    assert len(ids) == 2
    assert all(request_id.startswith("req_") for request_id in ids)


@pytest.mark.parametrize("method", NOT_YET)
async def test_a_method_that_is_not_built_yet_says_so(served: Served, method: str) -> None:
    code, said, trailing = await ask(served, method, served.admin)
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert f"/truthgpt.optimization.OptimizationService/{method}" in said
    assert "x-request-id" in trailing
    assert trailing["x-error-code"] == "NOT_SUPPORTED_HERE"


async def test_bytes_that_are_not_the_message_are_an_invalid_argument(served: Served) -> None:
    raw = served.channel.unary_unary("/truthgpt.optimization.OptimizationService/GetModel")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await raw(b"\xff\xff", metadata=served.admin)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await raw(b"\x0a\x02\xff\xfe", metadata=served.admin)  # a model_id that is not UTF-8
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await raw(b"\xff\xff")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED  # who may not call learns nothing of the form


async def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.channel.unary_unary("/truthgpt.optimization.OptimizationService/Nothing")(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["RunInference", "StreamInference"])
async def test_a_bug_is_internal_and_tells_nothing_but_the_log(
    served: Served, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "/srv/secret/path"
    served.world.triton.fail_at = (0, RuntimeError(secret))  # type: ignore[assignment]
    message: Any = getattr(served.pb, NEEDS[method][0])(model_id="coder", input_text="x")
    call = getattr(served.stub, method)(message, metadata=served.admin)
    assert (await call.code(), await call.details()) == (grpc.StatusCode.INTERNAL, unexpected(RuntimeError()).message)
    trailing = trailers(await call.trailing_metadata())
    assert trailing["x-error-code"] == "INTERNAL_ERROR"
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert secret in caplog.text
    assert vars(record)["request_id"] == trailing["x-request-id"]


async def test_a_message_above_the_limit_is_refused_and_the_server_lives(serve: Serve) -> None:
    served = await serve(message_bytes_max=10_000)
    request = served.pb.InferenceRequest(model_id="coder", input_text="x" * 20_000)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.RunInference(request, metadata=served.admin)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await ask(served, "ListModels", served.admin))[0] is grpc.StatusCode.OK


async def test_a_message_of_more_than_four_mebibytes_is_taken(served: Served) -> None:
    """gRPC's own limit; ours is 64 MiB. The model refuses the text as too long for it, not gRPC."""
    request = served.pb.InferenceRequest(model_id="coder", input_text="x" * 5_000_000)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.RunInference(request, metadata=served.admin)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
