"""An inspector that knows the answer, for tests whose ONNX files nobody opens."""

from __future__ import annotations

from pathlib import Path

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Signature, TensorSpec
from control_plane.ports import OnnxModel

MLP = OnnxModel(
    Signature((TensorSpec("features", "FP32", (-1, 8)),), (TensorSpec("scores", "FP32", (-1, 3)),), max_batch_size=32),
    parameters=195,
    dtype="float32",
    opset=17,
)


class KnownInspector:
    def __init__(self, model: OnnxModel = MLP, refusal: str | None = None) -> None:
        self._model = model
        self._refusal = refusal

    async def inspect(self, path: Path) -> OnnxModel:
        return self._answer(path)

    def _answer(self, path: Path) -> OnnxModel:
        if self._refusal is not None or not path.is_file():
            raise InvalidRequest(self._refusal or f"{path.name} is not there")
        return self._model
