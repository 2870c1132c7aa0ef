"""Proves that tensors cross into Triton's Python stub and back unharmed, and tells which Python the stub runs.

Inputs `X` FP32[-1] and `T` BYTES[-1] give `Y` = 2 X + 1 and `R` = each string of T backwards, byte by byte.
Output `environment` BYTES[1] is JSON: python, prefix, executable, numpy, and the installed version of each of
`PACKAGES`, or null. With the request parameter `imports` true they are really imported, which takes a while once.

Shapes: the inputs of `1/golden.json` in the model `tritonplane-probe` give exactly its outputs. A wrong numpy shows
here first: it delivers every element of X equal to the first, and outputs of no bytes.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from triton_backends.runtime.parameters import boolean, parse_parameters
from triton_backends.runtime.tensors import inputs_by_name
from triton_backends.runtime.triton import Array, Request, Response, require_numpy_1, triton

PACKAGES = ("onnxruntime", "tokenizers", "llguidance")


class TritonPythonModel:
    """The name and the methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        require_numpy_1()

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        return [_answer(request) for request in requests]


def _answer(request: Request) -> Response:
    inputs = inputs_by_name(request)
    wants_imports = boolean("imports", parse_parameters(request.parameters()).get("imports", False))
    outputs: dict[str, Array] = {
        "Y": (inputs["X"] * 2 + 1).astype(np.float32),
        "R": _objects([text[::-1] for text in inputs["T"].reshape(-1)]),
    }
    found = environment(_imported_version if wants_imports else _installed_version)
    outputs["environment"] = _objects([json.dumps(found).encode()])
    utils = triton()
    return utils.InferenceResponse([utils.Tensor(name, array) for name, array in outputs.items()])


def environment(version: Callable[[str], str | None]) -> dict[str, Any]:
    """Which Python runs here, and what it can import."""
    return {
        "python": platform.python_version(),
        "prefix": sys.prefix,
        "executable": sys.executable,
        "numpy": np.__version__,
        **{name: version(name) for name in PACKAGES},
    }


def _imported_version(package: str) -> str | None:
    try:
        module = importlib.import_module(package)
    except ImportError:
        return None
    return str(getattr(module, "__version__", "unknown"))


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _objects(values: list[bytes]) -> Array:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array
