"""What is imported again and again while something dies: how it is sent, and what the model must answer."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest

from tests.unit.repository.directories import MLP_CONFIG

MLP = Path(__file__).parents[1] / "fixtures" / "mlp" / "model.onnx"
FEATURES = [[position / 8 for position in range(8)]]
PADDING_BYTES = 12 * 2**20  # so that an upload, a copy and a digest take long enough to die in


@dataclass(frozen=True)
class Source:
    """`options` are the import's query; an `upload` is a zip. `question` is asked of `route`."""

    name: str
    options: Mapping[str, Any]
    question: Mapping[str, Any]
    answer: Any
    is_text: bool = False
    upload: bytes | None = field(default=None, repr=False)

    def submit(self, http: httpx.Client, model: str) -> str:
        """The id of the import's job."""
        files = {"file": ("model.zip", self.upload)} if self.upload is not None else None
        reply = http.post(f"/native/v1/models/{model}/revisions", params=self.options, files=files)
        assert reply.status_code == httpx.codes.ACCEPTED, reply.text
        return str(reply.json()["job_id"])

    def check_answer(self, http: httpx.Client, reference: str) -> None:
        if self.is_text:
            told = http.post("/inference", json={"model_id": reference, **self.question}).raise_for_status()
            assert told.json()["output"]["text"] == self.answer
        else:
            told = http.post(f"/v2/models/{reference}/infer", json=self.question).raise_for_status()
            assert told.json()["outputs"][0]["data"] == pytest.approx(self.answer, abs=1e-5)


def llama(expected: Mapping[str, Any]) -> Source:
    """A Hugging Face directory: the longest conversion, with children of its own."""
    question = {"input_data": {"text": expected["prompt"]}, "max_length": expected["new_tokens"], "temperature": 0}
    return Source("llama", {"file_path": "llama"}, question, expected["llama"], is_text=True)


def module(expected: Mapping[str, Any]) -> Source:
    """A TorchScript file."""
    features = expected["mlp"]["features"]
    options = {"file_path": "mlp.pt", "input": "features:FP32:-1,16"}
    return Source("module", options, _question(features, [2, 16]), expected["mlp"]["answer"])


def archive() -> Source:
    """A Triton model directory as an uploaded zip: nothing is converted."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("config.pbtxt", MLP_CONFIG)
        packed.writestr("1/model.onnx", MLP.read_bytes())
        packed.writestr("source/padding", random.Random(1).randbytes(PADDING_BYTES))
    given = np.array(FEATURES, np.float32)
    (answer,) = onnxruntime.InferenceSession(MLP).run(None, {"features": given})
    return Source(
        "archive", {}, _question(given.flatten().tolist(), [1, 8]), answer.flatten().tolist(), upload=file.getvalue()
    )


def _question(features: list[float], shape: list[int]) -> dict[str, Any]:
    return {"inputs": [{"name": "features", "datatype": "FP32", "shape": shape, "data": features}]}
