"""What was imported answers through REST and gRPC as its source does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import onnxruntime
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from control_plane.pb import optimization_pb2, optimization_pb2_grpc
from tests.integration.imports.conftest import Sources
from tests.product import ServerProcess

BARE_ONNX = Path(__file__).parents[2] / "fixtures" / "mlp" / "model.onnx"


def through_grpc(server: ServerProcess, model: str, given: tuple[str, str, Any], output: str) -> Any:
    """What Triton's own client gets: `given` is the input's name, its datatype and its array."""
    name, datatype, array = given
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    with InferenceServerClient(server.grpc_target) as client:
        return client.infer(model, [tensor], headers={"x-api-key": server.admin_key}).as_numpy(output)


def imported(server: ServerProcess, name: str, **options: Any) -> dict[str, Any]:
    """Import below the import root, and load; the revision."""
    with server.client() as http:
        reply = http.post(f"/models/{name}/import", params=options, timeout=300)
        assert reply.status_code == httpx.codes.OK, reply.text
        assert http.post(f"/native/v1/models/{name}/load").status_code == httpx.codes.OK
        revisions = http.get(f"/native/v1/models/{name}/revisions").json()["revisions"]
    return dict(revisions[-1])


def embeddings(server: ServerProcess, model: str, texts: list[str]) -> Any:
    """Shapes: FP32[texts, 384]."""
    request = {"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}]}
    with server.client() as http:
        (output,) = http.post(f"/v2/models/{model}/infer", json=request).json()["outputs"]
    assert (output["name"], output["shape"]) == ("embedding", [len(texts), 384])
    return np.array(output["data"]).reshape(-1, 384)


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_a_language_model_continues_a_text_as_torch_does(importing: ServerProcess, sources: Sources, name: str) -> None:
    revision = imported(importing, name, file_path=name)
    assert revision["backend"] == "text_generation"
    checks = {check["name"]: check for check in revision["conversion"]["checks"]}
    assert checks["top1_agreement"]["value"] >= 0.999
    prompt, count = sources.expected["prompt"], sources.expected["new_tokens"]

    with importing.client() as http:
        body = {"model_id": name, "input_data": {"text": prompt}, "max_length": count, "temperature": 0}
        answer = http.post("/inference", json=body).json()
    with grpc.insecure_channel(importing.grpc_target) as channel:
        asked = optimization_pb2.InferenceRequest(model_id=name, input_text=prompt, max_length=count, temperature=0)
        metadata = (("x-api-key", importing.admin_key),)
        spoken = optimization_pb2_grpc.OptimizationServiceStub(channel).RunInference(asked, metadata=metadata)

    assert answer["output"]["text"] == sources.expected[name]
    assert spoken.output_text == sources.expected[name]


def test_an_embedder_takes_text_and_gives_the_vectors_of_sentence_transformers(
    importing: ServerProcess, sources: Sources
) -> None:
    revision = imported(importing, "minilm", file_path="minilm")
    assert (revision["backend"], revision["precision"]) == ("text_encoder", "float32")

    texts, expected = sources.expected["texts"], np.array(sources.expected["minilm"])
    got = embeddings(importing, "minilm", texts)
    given = np.array([[text.encode()] for text in texts], object)
    spoken = through_grpc(importing, "minilm", ("text_input", "BYTES", given), "embedding")

    assert got == pytest.approx(expected, abs=1e-5)
    assert spoken == pytest.approx(expected, abs=1e-5)


def test_a_quantized_embedder_points_where_its_source_does(importing: ServerProcess, sources: Sources) -> None:
    revision = imported(importing, "minilm-q8", file_path="minilm", precision="q8")
    assert revision["precision"] == "int8"
    checks = {check["name"]: check["value"] for check in revision["conversion"]["checks"]}
    assert checks["mean_cosine"] > 0.99

    got, wanted = embeddings(importing, "minilm-q8", sources.expected["texts"]), np.array(sources.expected["minilm"])
    assert np.sum(got * wanted, axis=1).min() > 0.99


def test_a_torch_module_answers_as_it_did_in_torch(importing: ServerProcess, sources: Sources) -> None:
    revision = imported(importing, "mlp", file_path="mlp.pt", input="features:FP32:-1,16")
    assert revision["backend"] == "onnxruntime"

    expected = sources.expected["mlp"]
    given = {"name": "features", "datatype": "FP32", "shape": [2, 16], "data": expected["features"]}
    with importing.client() as http:
        (output,) = http.post("/v2/models/mlp/infer", json={"inputs": [given]}).json()["outputs"]
    features = np.array(expected["features"], np.float32).reshape(2, 16)
    spoken = through_grpc(importing, "mlp", ("features", "FP32", features), output["name"])

    assert output["data"] == pytest.approx(expected["answer"], abs=1e-5)
    assert spoken.flatten() == pytest.approx(np.array(expected["answer"]), abs=1e-5)


def test_a_bare_onnx_file_answers_as_onnx_runtime_does(importing: ServerProcess, sources: Sources) -> None:
    shutil.copy(BARE_ONNX, sources.folder / "bare.onnx")
    assert imported(importing, "bare", file_path="bare.onnx")["backend"] == "onnxruntime"
    features = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
    session = onnxruntime.InferenceSession(BARE_ONNX, providers=["CPUExecutionProvider"])
    (expected,) = session.run(["scores"], {"features": features})

    given = {"name": "features", "datatype": "FP32", "shape": [3, 8], "data": features.flatten().tolist()}
    with importing.client() as http:
        (output,) = http.post("/v2/models/bare/infer", json={"inputs": [given]}).json()["outputs"]
    spoken = through_grpc(importing, "bare", ("features", "FP32", features), "scores")

    assert np.array(output["data"]).reshape(output["shape"]) == pytest.approx(expected, abs=1e-5)
    assert spoken == pytest.approx(expected, abs=1e-5)


def test_a_torch_script_without_its_inputs_is_refused_with_the_option_to_give(importing: ServerProcess) -> None:
    with importing.client() as http:
        reply = http.post("/models/nameless/import", params={"file_path": "mlp.pt"}, timeout=120)
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
        assert "NAME:FP32" in reply.json()["error"] or "--input" in reply.json()["error"]
        assert http.get("/models/nameless").status_code == httpx.codes.NOT_FOUND
