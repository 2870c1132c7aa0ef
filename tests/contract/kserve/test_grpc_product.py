"""The real server, asked over gRPC by Triton's own client as it is installed (X-KS-06)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from control_plane.pb.inference import messages as pb
from tests.product import ServerProcess

FIXTURES = Path(__file__).parents[2] / "fixtures"
TEXTS = ["the quick brown fox", "", "Ünïcode is good"]
MODELS = ("grpc-echo", "grpc-mlp", "grpc-embedding", "grpc-classification")
# What echo.onnx gives back: a value of each type.
ECHOED = {
    "bool": np.array([True, False]),
    "fp16": np.array([0.1, -65504], np.float16),
    "fp64": np.array([0.1, 1e300]),
    "int8": np.array([-128, 127], np.int8),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint8": np.array([0, 255], np.uint8),
    "bytes": np.array([b"caf\xc3\xa9", b""], object),
}


def zipped(folder: Path) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for file in sorted(folder.iterdir()):
            written.write(file, f"1/{file.name}")
    return archive.getvalue()


def archives() -> dict[str, tuple[str, bytes]]:
    encoders = FIXTURES / "tiny_text_encoders"
    return {
        "grpc-echo": ("model.onnx", (FIXTURES / "onnx_models" / "echo.onnx").read_bytes()),
        "grpc-mlp": ("model.onnx", (FIXTURES / "mlp" / "model.onnx").read_bytes()),
        "grpc-embedding": ("m.zip", zipped(encoders / "embedding" / "1")),
        "grpc-classification": ("m.zip", zipped(encoders / "classification" / "1")),
    }


@dataclass(frozen=True)
class Both:
    """One server, asked over gRPC and over HTTP."""

    grpc: InferenceServerClient
    http: httpx.Client
    headers: dict[str, str]

    def infer(self, model: str, *inputs: InferInput, **options: Any) -> Any:
        return self.grpc.infer(model, list(inputs), headers=self.headers, **options)

    def refusal(self, model: str, *inputs: InferInput, **options: Any) -> tuple[str, str]:
        with pytest.raises(InferenceServerException) as refused:
            self.infer(model, *inputs, **options)
        return refused.value.status(), refused.value.message()


@pytest.fixture(scope="module")
def both(product: ServerProcess) -> Iterator[Both]:
    with product.client() as http, InferenceServerClient(product.grpc_target) as grpc:
        for name, file in archives().items():
            http.post(f"/models/{name}/import", files={"file": file}).raise_for_status()
            http.post("/models", json={"model_name": name}).raise_for_status()
        yield Both(grpc, http, {"x-api-key": product.admin_key})
        for name in MODELS:
            http.delete(f"/models/{name}?purge=true").raise_for_status()


def tensor(name: str, array: np.ndarray, datatype: str) -> InferInput:
    given = InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def features(shape: tuple[int, ...] = (2, 8), kind: type = np.float32, datatype: str = "FP32") -> InferInput:
    return tensor("features", np.arange(np.prod(shape), dtype=kind).reshape(shape) / 10, datatype)


def texts() -> InferInput:
    return tensor("text_input", np.array([[text.encode()] for text in TEXTS], object), "BYTES")


def echo_inputs() -> list[InferInput]:
    return [tensor(f"{name}_in", array, name.upper()) for name, array in ECHOED.items()]


def test_x_ks_06_a_tensor_model_answers_as_onnx_runtime_does(both: Both) -> None:
    given = np.arange(16, dtype=np.float32).reshape(2, 8) / 10
    session = onnxruntime.InferenceSession(FIXTURES / "mlp" / "model.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run(["scores"], {"features": given})
    answer = both.infer("grpc-mlp", tensor("features", given, "FP32"), request_id="mine-1")
    np.testing.assert_allclose(answer.as_numpy("scores"), expected, rtol=1e-5)
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("grpc-mlp", "1", "mine-1")


def test_x_ks_06_every_datatype_comes_back_as_it_went(both: Both) -> None:
    answer = both.infer("grpc-echo", *echo_inputs())
    for name, array in ECHOED.items():
        got = answer.as_numpy(f"{name}_out")
        assert (got.dtype, got.tolist()) == (array.dtype, array.tolist())


def test_x_ks_06_a_tensor_of_many_mebibytes_goes_through(both: Both) -> None:
    """gRPC's own limit is 4 MiB; ours is 64 MiB, on both sides of the server."""
    large = np.random.default_rng(6).random(2_500_000)
    given = [tensor("fp64_in", large, "FP64"), *(one for one in echo_inputs() if one.name() != "fp64_in")]
    answer = both.infer("grpc-echo", *given, outputs=[InferRequestedOutput("fp64_out")])
    assert answer.as_numpy("fp64_out").tobytes() == large.tobytes()


def test_x_ks_06_only_the_outputs_that_are_asked_for_come_back(both: Both) -> None:
    answer = both.infer("grpc-echo", *echo_inputs(), outputs=[InferRequestedOutput("fp16_out")])
    assert [output.name for output in answer.get_response().outputs] == ["fp16_out"]
    status, said = both.refusal("grpc-mlp", features(), outputs=[InferRequestedOutput("points")])
    assert (status, "points" in said) == ("StatusCode.INVALID_ARGUMENT", True)


@pytest.mark.parametrize("model", ["grpc-embedding", "grpc-classification"])
def test_x_ks_06_an_encoder_takes_text_and_answers_as_over_rest(both: Both, model: str) -> None:
    given = {"name": "text_input", "shape": [3, 1], "datatype": "BYTES", "data": TEXTS}
    told = both.http.post(f"/v2/models/{model}/infer", json={"inputs": [given]}).raise_for_status().json()["outputs"]
    answer = both.infer(model, texts())
    assert {output.name for output in answer.get_response().outputs} == {output["name"] for output in told}
    for output in told:
        got = answer.as_numpy(output["name"])
        assert list(got.shape) == output["shape"]
        if output["datatype"] == "BYTES":
            assert [text.decode() for text in got.flatten()] == output["data"]
        else:
            np.testing.assert_allclose(got.flatten(), output["data"], rtol=1e-5, atol=1e-6)


def test_x_ks_06_parameters_reach_the_model(both: Both) -> None:
    long = tensor("text_input", np.array([[b"fox " * 50]], object), "BYTES")
    status, said = both.refusal("grpc-embedding", long)
    assert (status, "at most 32 tokens" in said) == ("StatusCode.INVALID_ARGUMENT", True)
    assert both.infer("grpc-embedding", long, parameters={"truncate": True}, priority=1).as_numpy("embedding").any()


def test_x_ks_06_typed_contents_are_answered_as_raw_ones(both: Both) -> None:
    raw = both.infer("grpc-mlp", features((1, 8)))
    given = {"name": "features", "datatype": "FP32", "shape": [1, 8]}
    given["contents"] = {"fp32_contents": [number / 10 for number in range(8)]}
    request = pb.ModelInferRequest(model_name="grpc-mlp", inputs=[given])
    # The client's own stub: its `infer` sends raw bytes only.
    answer = both.grpc._client_stub.ModelInfer(request, metadata=tuple(both.headers.items()))
    assert list(answer.raw_output_contents) == list(raw.get_response().raw_output_contents)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (features((2, 9)), "shape"),
        (features((2, 8), np.float64, "FP64"), "FP64"),
        (tensor("points", np.zeros((1, 8), np.float32), "FP32"), "points"),
    ],
)
def test_x_ks_06_what_the_model_does_not_take_is_an_invalid_argument(both: Both, given: InferInput, named: str) -> None:
    status, said = both.refusal("grpc-mlp", given)
    assert (status, named in said) == ("StatusCode.INVALID_ARGUMENT", True), said
    assert "--r1" not in said


def test_x_ks_06_bytes_elements_that_do_not_add_up_are_an_invalid_argument(both: Both) -> None:
    broken = InferInput("text_input", [1, 1], "BYTES")
    for raw in (b"\x05\0\0\0ab", b"\x01\0\0\0a\x01\0\0\0b", b"\x01"):
        broken._raw_content = raw
        status, said = both.refusal("grpc-embedding", broken)
        assert (status, "text_input" in said) == ("StatusCode.INVALID_ARGUMENT", True), said


def test_x_ks_06_a_model_that_streams_says_where_to_go(both: Both) -> None:
    status, said = both.refusal("stdlib-coder", tensor("text_input", np.array([b"import "], object), "BYTES"))
    assert (status, "streams its answers" in said) == ("StatusCode.INVALID_ARGUMENT", True)


def test_x_ks_06_the_server_and_its_models_tell_of_themselves(both: Both) -> None:
    assert both.grpc.is_server_live() is both.grpc.is_server_ready() is True
    assert both.grpc.get_server_metadata(headers=both.headers).name == "tritonplane"
    assert both.grpc.is_model_ready("grpc-mlp", "1", headers=both.headers) is True
    assert both.grpc.is_model_ready("grpc-nobody", headers=both.headers) is False
    told = both.grpc.get_model_metadata("grpc-mlp", headers=both.headers)
    assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("features", "FP32", [-1, 8])]
    assert [(one.name, one.datatype, list(one.shape)) for one in told.outputs] == [("scores", "FP32", [-1, 3])]


def test_c_auth_11_without_a_credential_a_tensor_is_not_even_looked_at(both: Both) -> None:
    with pytest.raises(InferenceServerException) as refused:
        both.grpc.infer("grpc-nobody", [features()])
    assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
