"""The golden self-test, through a real Triton."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from tests.backends.conftest import PROJECT, RunningTriton

MODEL = "tritonplane-probe"
FOLDER = PROJECT / "model_repository" / MODEL
GOLDEN: dict[str, Any] = json.loads((FOLDER / "1" / "golden.json").read_text())


@pytest.fixture(scope="module")
def probe(triton_server: RunningTriton) -> InferenceServerClient:
    shutil.copytree(FOLDER, triton_server.repository / MODEL)
    return triton_server.load(MODEL)


def golden_inputs() -> list[InferInput]:
    numbers = np.array(GOLDEN["inputs"]["X"], np.float32)
    texts = np.array([text.encode() for text in GOLDEN["inputs"]["T"]], object)
    inputs = [InferInput("X", [numbers.size], "FP32"), InferInput("T", [texts.size], "BYTES")]
    inputs[0].set_data_from_numpy(numbers)
    inputs[1].set_data_from_numpy(texts)
    return inputs


def test_the_golden_inputs_give_the_golden_outputs(probe: InferenceServerClient) -> None:
    result = probe.infer(MODEL, golden_inputs())
    assert result.as_numpy("Y").tolist() == GOLDEN["outputs"]["Y"]
    assert [text.decode() for text in result.as_numpy("R")] == GOLDEN["outputs"]["R"]


@pytest.mark.parametrize("imports", [False, True])
def test_the_probe_tells_which_python_the_stub_runs(probe: InferenceServerClient, imports: bool) -> None:
    result = probe.infer(MODEL, golden_inputs(), parameters={"imports": imports})
    environment = json.loads(result.as_numpy("environment")[0])
    assert environment["prefix"] == sys.prefix
    assert environment["numpy"].startswith("1.")
    assert environment["onnxruntime"]
    assert environment["tokenizers"]
