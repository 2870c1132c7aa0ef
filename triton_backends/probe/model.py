"""Proves that tensors cross into Triton's Python stub and back unharmed, and tells which Python the stub runs.

Inputs `X` FP32[-1] and `T` BYTES[-1] give `Y` = 2 X + 1 and `R` = each string of T backwards, byte by byte.
Output `environment` BYTES[1] is JSON: python, prefix, executable, numpy, and per package of `PACKAGES` its version, or
null where it cannot be imported. It is only worked out when asked for by name: the imports take a while.

Shapes: GOLDEN_INPUTS must give exactly GOLDEN_OUTPUTS. `1/golden.json` of the model `tritonplane-probe` holds the same.
A wrong numpy shows here first: it delivers every element of X equal to the first, and outputs of no bytes.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from triton_backends.runtime.tensors import inputs_by_name
from triton_backends.runtime.triton import Array, Request, Response, require_numpy_1, triton

GOLDEN_INPUTS: dict[str, list[Any]] = {"X": [1.0, 2.0, -3.5, 0.0], "T": ["abc", "", "tritonplane"]}
GOLDEN_OUTPUTS: dict[str, list[Any]] = {"Y": [3.0, 5.0, -6.0, 1.0], "R": ["cba", "", "enalpnotirt"]}
PACKAGES = ("onnxruntime", "tokenizers", "llguidance")


class TritonPythonModel:
    """The name and the methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        require_numpy_1()

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        return [_answer(request) for request in requests]


def _answer(request: Request) -> Response:
    inputs = inputs_by_name(request)
    outputs: dict[str, Array] = {
        "Y": (inputs["X"] * 2 + 1).astype(np.float32),
        "R": _objects([text[::-1] for text in inputs["T"].reshape(-1)]),
    }
    if "environment" in request.requested_output_names():
        outputs["environment"] = _objects([json.dumps(environment()).encode()])
    utils = triton()
    return utils.InferenceResponse([utils.Tensor(name, array) for name, array in outputs.items()])


def environment() -> dict[str, Any]:
    """Which Python runs here, and what it can import."""
    return {
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "executable": sys.executable,
        "numpy": np.__version__,
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        module = importlib.import_module(package)
    except ImportError:
        return None
    return str(getattr(module, "__version__", "unknown"))


def _objects(values: list[bytes]) -> Array:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array
