"""Tensors over gRPC with Triton's own client (X-KS-06): what reaches Triton, what comes back, what is refused."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from control_plane.dialects.kserve.grpc_mapping import TYPED_VALUES_MAX
from control_plane.pb.inference import messages as pb
from tests.contract.kserve.conftest import ServedGrpc, ServeGrpc
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def given(array: np.ndarray, datatype: str, name: str = "input") -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


async def infer(served: ServedGrpc, **options: Any) -> Any:
    options = {"model_name": "adder", "inputs": [given(ROWS, "FP32")], "headers": served.user, **options}
    return await served.client.infer(**options)


def message(**changes: Any) -> Any:
    """A request with typed contents, which tritonclient does not make."""
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 4], "contents": {"fp32_contents": [1, 2, 3, 4]}}
    return pb.ModelInferRequest(**{"model_name": "adder", "inputs": [{**tensor, **changes}]})


async def refusal(served: ServedGrpc, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.ModelInfer(request, metadata=tuple(served.user.items()))
    return refused.value.code(), refused.value.details() or ""


async def test_x_ks_06_raw_tensors_go_in_and_come_out(served_grpc: ServedGrpc) -> None:
    answer = await infer(served_grpc)
    np.testing.assert_array_equal(answer.as_numpy("output"), 2 * ROWS)
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("adder", "1", "")
    assert served_grpc.world.triton.requests[-1].inputs[0].raw == ROWS.tobytes()


async def test_x_ks_06_the_id_comes_back_and_reaches_triton_with_the_parameters_and_outputs(
    served_grpc: ServedGrpc,
) -> None:
    parameters = {"speed": 2, "exact": True, "scale": 0.5, "mode": "fast"}
    outputs = [InferRequestedOutput("output")]
    answer = await infer(served_grpc, request_id="mine-1", parameters=parameters, outputs=outputs, priority=3)
    assert answer.get_response().id == "mine-1"
    seen = served_grpc.world.triton.requests[-1]
    assert (seen.request_id, seen.outputs) == ("mine-1", ("output",))
    assert dict(seen.parameters) == {**parameters, "priority": 3}


async def test_x_ks_06_without_an_id_of_its_own_the_request_has_ours(served_grpc: ServedGrpc) -> None:
    await infer(served_grpc, headers={**served_grpc.user, "x-request-id": "from-the-caller"})
    assert served_grpc.world.triton.requests[-1].request_id == "from-the-caller"


async def test_x_ks_06_a_version_is_a_revision(serve_grpc: ServeGrpc) -> None:
    world = await make_world(tensor_revision("adder"), tensor_revision("adder", 2))
    await world.services.models.load("adder:2")
    served = await serve_grpc(world)
    for named in ({"model_version": "2"}, {"model_name": "adder:2"}):
        response = (await infer(served, **named)).get_response()
        assert (response.model_name, response.model_version) == (named.get("model_name", "adder"), "2")
    for named, status in [
        ({}, "FAILED_PRECONDITION"),
        ({"model_version": "9"}, "NOT_FOUND"),
        ({"model_version": "x"}, "INVALID_ARGUMENT"),
        ({"model_name": "adder:2", "model_version": "2"}, "INVALID_ARGUMENT"),
    ]:
        with pytest.raises(InferenceServerException) as refused:
            await infer(served, **named)
        assert refused.value.status() == f"StatusCode.{status}"


@pytest.mark.parametrize(
    ("array", "datatype"),
    [
        (np.array([[0.5, -1.5]], np.float16), "FP16"),
        (np.array([[b"caf\xc3\xa9", b"", b"\xff\x00"]], object), "BYTES"),
        (np.array([[True, False]]), "BOOL"),
        (np.array([[2**63 - 1]]), "INT64"),
    ],
)
async def test_x_ks_06_raw_bytes_pass_through_untouched(
    served_grpc: ServedGrpc, array: np.ndarray, datatype: str
) -> None:
    answer = await infer(served_grpc, inputs=[given(array, datatype)])
    assert answer.as_numpy("output").tolist() == array.tolist()
    sent = serialize_byte_tensor(array).item() if datatype == "BYTES" else array.tobytes()
    assert served_grpc.world.triton.requests[-1].inputs[0].raw == sent


@pytest.mark.parametrize(
    ("datatype", "field", "values", "raw"),
    [
        ("BOOL", "bool_contents", [True, False], b"\x01\x00"),
        ("INT8", "int_contents", [-1, 2], b"\xff\x02"),
        ("INT32", "int_contents", [-1, 2], b"\xff\xff\xff\xff\x02\x00\x00\x00"),
        ("UINT16", "uint_contents", [1, 65535], b"\x01\x00\xff\xff"),
        ("INT64", "int64_contents", [-1], b"\xff" * 8),
        ("UINT64", "uint64_contents", [2**64 - 1], b"\xff" * 8),
        ("FP32", "fp32_contents", [0.5], np.float32(0.5).tobytes()),
        ("FP64", "fp64_contents", [0.1], np.float64(0.1).tobytes()),
        ("BYTES", "bytes_contents", [b"ab", b"\xff"], b"\x02\x00\x00\x00ab\x01\x00\x00\x00\xff"),
    ],
)
async def test_x_ks_06_typed_contents_become_the_same_raw_bytes(
    served_grpc: ServedGrpc, datatype: str, field: str, values: list[Any], raw: bytes
) -> None:
    request = message(datatype=datatype, shape=[len(values)], contents={field: values})
    await served_grpc.stub.ModelInfer(request, metadata=tuple(served_grpc.user.items()))
    tensor = served_grpc.world.triton.requests[-1].inputs[0]
    assert (tensor.datatype, tensor.shape, tensor.raw) == (datatype, (len(values),), raw)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"shape": [1, 5]}, "needs 5 values, got 4"),
        ({"shape": [-1, -4]}, "[-1, -4]"),
        ({"datatype": "FP31"}, "FP31"),
        ({"datatype": "FP64"}, "FP64 travels in fp64_contents, not in fp32_contents"),
        ({"datatype": "FP16", "contents": {}}, "FP16 travels in raw_input_contents only"),
        ({"datatype": "INT8", "contents": {"int_contents": [300] * 4}}, "INT8"),
        ({"datatype": "BYTES", "contents": {"bytes_contents": [b"a"]}}, "needs 4 values, got 1"),
        ({"contents": {}}, "got 0"),
        ({"parameters": {"zoom": {"int64_param": 1}}}, "zoom"),
    ],
)
async def test_x_ks_06_what_does_not_fit_is_refused_by_name(
    served_grpc: ServedGrpc, changes: dict[str, Any], named: str
) -> None:
    code, said = await refusal(served_grpc, message(**changes))
    assert (code, named in said) == (grpc.StatusCode.INVALID_ARGUMENT, True), said
    assert "'input'" in said


@pytest.mark.parametrize(
    ("shape", "datatype", "raws", "named"),
    [
        ([2, 4], "FP32", [b"\0" * 16], "needs 32 bytes, got 16"),
        ([-1, -4], "FP32", [b"\0" * 16], "negative"),
        ([1, 4], "FP31", [b"\0" * 16], "FP31"),
        ([1, 4], "FP32", [b"\0" * 16] * 2, "one item for each of 1 inputs, got 2"),
    ],
)
async def test_x_ks_06_raw_bytes_that_do_not_fit_are_refused(
    served_grpc: ServedGrpc, shape: list[int], datatype: str, raws: list[bytes], named: str
) -> None:
    request = message(shape=shape, datatype=datatype)
    request.inputs[0].ClearField("contents")
    request.raw_input_contents.extend(raws)
    code, said = await refusal(served_grpc, request)
    assert (code, named in said) == (grpc.StatusCode.INVALID_ARGUMENT, True), said


async def test_x_ks_06_values_come_raw_or_typed_but_not_both(served_grpc: ServedGrpc) -> None:
    request = message()
    request.raw_input_contents.append(b"\0" * 16)
    code, said = await refusal(served_grpc, request)
    assert (code, "not in both" in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_x_ks_06_more_than_a_million_typed_values_are_to_come_raw(served_grpc: ServedGrpc) -> None:
    count = TYPED_VALUES_MAX + 1
    request = message(datatype="BOOL", shape=[count], contents={"bool_contents": [True] * count})
    code, said = await refusal(served_grpc, request)
    assert (code, "raw_input_contents" in said) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


async def test_x_ks_06_a_parameter_is_a_value_of_64_bits(served_grpc: ServedGrpc) -> None:
    for parameter, named in (({}, "no value"), ({"uint64_param": 2**63}, "64 bits")):
        request = message()
        request.parameters["large"].MergeFrom(pb.InferParameter(**parameter))
        code, said = await refusal(served_grpc, request)
        assert (code, named in said) == (grpc.StatusCode.INVALID_ARGUMENT, True), said


async def test_x_ks_06_classification_is_refused_by_name(served_grpc: ServedGrpc) -> None:
    with pytest.raises(InferenceServerException, match="classification") as refused:
        await infer(served_grpc, outputs=[InferRequestedOutput("output", class_count=3)])
    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_x_ks_06_tensors_in_shared_memory_are_refused(served_grpc: ServedGrpc) -> None:
    tensor, output = InferInput("input", [1, 4], "FP32"), InferRequestedOutput("output")
    tensor.set_shared_memory("region", 16)
    output.set_shared_memory("region", 16)
    for options in ({"inputs": [tensor]}, {"outputs": [output]}):
        with pytest.raises(InferenceServerException, match="shared memory") as refused:
            await infer(served_grpc, **options)
        assert refused.value.status() == "StatusCode.UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("nobody", "NOT_FOUND", "there is no model named 'nobody'"),
        ("", "INVALID_ARGUMENT", "cannot name a model"),
        ("coder", "INVALID_ARGUMENT", "streams its answers"),
    ],
)
async def test_x_ks_06_a_model_that_cannot_answer_is_refused(
    served_grpc: ServedGrpc, model: str, status: str, said: str
) -> None:
    with pytest.raises(InferenceServerException, match=said) as refused:
        await infer(served_grpc, model_name=model)
    assert refused.value.status() == f"StatusCode.{status}"


async def test_x_ks_06_a_tensor_above_the_limit_is_refused_and_the_server_lives(serve_grpc: ServeGrpc) -> None:
    served = await serve_grpc(message_bytes_max=10_000)
    with pytest.raises(InferenceServerException) as refused:
        await infer(served, inputs=[given(np.zeros((1000, 4), np.float32), "FP32")])
    assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert (await infer(served)).as_numpy("output") is not None
