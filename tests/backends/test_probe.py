"""The golden self-test, through a real Triton."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

from tests.backends.conftest import PROJECT, RunningTriton
from triton_backends.probe.model import GOLDEN_INPUTS, GOLDEN_OUTPUTS

MODEL = "tritonplane-probe"


@pytest.fixture(scope="module")
def probe(triton_server: RunningTriton) -> InferenceServerClient:
    shutil.copytree(PROJECT / "model_repository" / MODEL, triton_server.repository / MODEL)
    return triton_server.load(MODEL)


def golden_inputs() -> list[InferInput]:
    numbers = np.array(GOLDEN_INPUTS["X"], np.float32)
    texts = np.array([text.encode() for text in GOLDEN_INPUTS["T"]], object)
    inputs = [InferInput("X", [numbers.size], "FP32"), InferInput("T", [texts.size], "BYTES")]
    inputs[0].set_data_from_numpy(numbers)
    inputs[1].set_data_from_numpy(texts)
    return inputs


def test_the_golden_inputs_give_the_golden_outputs(probe: InferenceServerClient) -> None:
    wanted = [InferRequestedOutput("Y"), InferRequestedOutput("R")]
    result = probe.infer(MODEL, golden_inputs(), outputs=wanted)
    assert result.as_numpy("Y").tolist() == GOLDEN_OUTPUTS["Y"]
    assert [text.decode() for text in result.as_numpy("R")] == GOLDEN_OUTPUTS["R"]


def test_the_probe_tells_which_python_the_stub_runs(probe: InferenceServerClient) -> None:
    result = probe.infer(MODEL, golden_inputs(), outputs=[InferRequestedOutput("environment")])
    environment = json.loads(result.as_numpy("environment")[0])
    assert environment["prefix"] == sys.prefix
    assert environment["numpy"].startswith("1.")
    assert environment["onnxruntime"]
    assert environment["tokenizers"]


def test_the_golden_file_of_the_model_is_that_of_the_backend() -> None:
    golden = json.loads((PROJECT / "model_repository" / MODEL / "1" / "golden.json").read_text())
    assert golden == {"inputs": GOLDEN_INPUTS, "outputs": GOLDEN_OUTPUTS}
