"""Server and model methods of inference.GRPCInferenceService (X-KS-06), who may call what, and what is refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tritonclient.utils import InferenceServerException

from control_plane.domain.access import ApiKey, Role
from control_plane.domain.triton import TritonState
from control_plane.pb.inference import messages as pb
from tests.contract.kserve.conftest import Headers, ServedGrpc, ServeGrpc
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world

METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
OPEN = ("ServerLive", "ServerReady")
ANSWERED = {
    "ServerMetadata": Role.VIEWER,
    "ModelReady": Role.VIEWER,
    "ModelMetadata": Role.VIEWER,
    "ModelInfer": Role.USER,
}
LATER = {
    "ModelStreamInfer": Role.USER,
    "ModelConfig": Role.VIEWER,
    "ModelStatistics": Role.VIEWER,
    "RepositoryIndex": Role.VIEWER,
    "RepositoryModelLoad": Role.ADMIN,
    "RepositoryModelUnload": Role.ADMIN,
}
NEVER = {
    **{
        f"{kind}SharedMemory{verb}": Role.USER
        for kind in ("System", "Cuda")
        for verb in ("Status", "Register", "Unregister")
    },
    "TraceSetting": Role.ADMIN,
    "LogSettings": Role.ADMIN,
}
NEEDS = {**ANSWERED, **LATER, **NEVER}


async def ask(served: ServedGrpc, method: str, headers: Headers) -> tuple[grpc.StatusCode, str]:
    """The status and its text of an empty request."""
    request, metadata = getattr(pb, METHODS[method].input_type.name)(), tuple(headers.items())
    if METHODS[method].client_streaming:
        call = getattr(served.stub, method)(iter([request]), metadata=metadata)
    else:
        call = getattr(served.stub, method)(request, metadata=metadata)
    return await call.code(), await call.details()


def test_every_method_of_the_service_is_answered_or_refused_on_purpose() -> None:
    assert sorted([*OPEN, *NEEDS]) == sorted(METHODS)


@pytest.mark.parametrize("method", NEEDS)
async def test_c_auth_11_a_call_without_a_credential_is_not_authenticated(served_grpc: ServedGrpc, method: str) -> None:
    assert (await ask(served_grpc, method, {}))[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", NEEDS)
@pytest.mark.parametrize("role", Role)
async def test_c_auth_06_a_method_is_open_to_its_role_and_the_ones_above(
    served_grpc: ServedGrpc, method: str, role: Role
) -> None:
    code, _ = await ask(served_grpc, method, served_grpc.as_role(role))
    assert (code is grpc.StatusCode.PERMISSION_DENIED) is not role.covers(NEEDS[method])


@pytest.mark.parametrize("method", LATER)
async def test_x_ks_06_what_comes_later_says_so(served_grpc: ServedGrpc, method: str) -> None:
    code, said = await ask(served_grpc, method, served_grpc.as_role(Role.ADMIN))
    assert (code, "later version" in said) == (grpc.StatusCode.UNIMPLEMENTED, True), said


@pytest.mark.parametrize("method", NEVER)
async def test_x_ks_06_what_is_not_offered_is_refused_in_words(served_grpc: ServedGrpc, method: str) -> None:
    code, said = await ask(served_grpc, method, served_grpc.as_role(Role.ADMIN))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert ("shared memory is not offered" in said) is ("SharedMemory" in method)


async def test_c_auth_07_live_and_ready_need_no_credential(served_grpc: ServedGrpc) -> None:
    assert await served_grpc.client.is_server_live() is True
    assert await served_grpc.client.is_server_ready() is True
    served_grpc.world.server.state = TritonState.STARTING
    assert await served_grpc.client.is_server_live() is True
    assert await served_grpc.client.is_server_ready() is False


async def test_c_auth_11_an_api_key_works_in_either_place(served_grpc: ServedGrpc) -> None:
    world, key = served_grpc.world, "tpk_of-a-viewer"
    digest = world.credentials.digest(key)
    await world.keys.add(ApiKey("key_1", digest, "a viewer's", Role.VIEWER, world.clock.now()))
    for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}):
        assert await served_grpc.client.is_model_ready("adder", headers=headers) is True


async def test_x_ks_06_the_server_says_its_name_and_version(served_grpc: ServedGrpc) -> None:
    said = await served_grpc.client.get_server_metadata(headers=served_grpc.as_role(Role.VIEWER))
    assert (said.name, list(said.extensions)) == ("tritonplane", ["parameters"])
    assert said.version


async def test_x_ks_06_a_model_is_ready_while_it_serves_and_an_unknown_one_never(serve_grpc: ServeGrpc) -> None:
    world = await make_world(tensor_revision("adder"), tensor_revision("adder", 2))
    await world.services.models.load("adder:2")
    served = await serve_grpc(world)
    headers = served.as_role(Role.VIEWER)
    for name, version, ready in [
        ("adder", "", False),
        ("adder", "1", False),
        ("adder", "2", True),
        ("adder:2", "", True),
        ("adder", "9", False),
        ("nobody", "", False),
    ]:
        assert await served.client.is_model_ready(name, version, headers=headers) is ready, (name, version)
    with pytest.raises(InferenceServerException, match="revision number") as refused:
        await served.client.is_model_ready("adder", "newest", headers=headers)
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_x_ks_06_metadata_tells_the_tensors_and_revisions_of_a_model(serve_grpc: ServeGrpc) -> None:
    served = await serve_grpc(await make_world(tensor_revision("adder"), tensor_revision("adder", 2)))
    told: Any = await served.client.get_model_metadata("adder", "2", headers=served.as_role(Role.VIEWER), as_json=True)
    assert told == {
        "name": "adder",
        "versions": ["1", "2"],
        "platform": "onnxruntime",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": ["-1", "4"]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": ["-1", "4"]}],
    }
    with pytest.raises(InferenceServerException, match="'nobody'") as refused:
        await served.client.get_model_metadata("nobody", headers=served.as_role(Role.VIEWER))
    assert refused.value.status() == "StatusCode.NOT_FOUND"
