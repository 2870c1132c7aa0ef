"""The part of `triton_python_backend_utils` that we use, typed: the real module exists only inside Triton's stub."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Tensor(Protocol):
    def name(self) -> str: ...
    def as_numpy(self) -> Array: ...


AnyTensor = Tensor


class ResponseSender(Protocol):
    def send(self, response: Response | None = ..., flags: int = ...) -> None: ...
    def is_cancelled(self) -> bool: ...


class Request(Protocol):
    def inputs(self) -> Sequence[Tensor]: ...
    def parameters(self) -> str: ...
    def requested_output_names(self) -> Sequence[str]: ...
    def get_response_sender(self) -> ResponseSender: ...
    def is_cancelled(self) -> bool: ...


class Response(Protocol):
    """An answer, under way to the caller or from a model that was called."""

    def has_error(self) -> bool: ...
    def error(self) -> Fault: ...


class Fault(Protocol):
    def message(self) -> str: ...


class Call(Protocol):
    """A request to another model of this Triton."""

    def exec(self) -> Response: ...


class Utils(Protocol):
    """`triton_python_backend_utils` with what the stub adds to it."""

    TRITONSERVER_RESPONSE_COMPLETE_FINAL: int

    def Tensor(self, name: str, array: Array) -> AnyTensor: ...  # noqa: N802 - Triton's names
    def TritonError(self, message: str, code: int) -> Exception: ...  # noqa: N802
    def InferenceResponse(  # noqa: N802
        self, output_tensors: Sequence[AnyTensor] = ..., error: Exception | None = ...
    ) -> Response: ...
    def InferenceRequest(  # noqa: N802
        self, *, model_name: str, requested_output_names: Sequence[str], inputs: Sequence[AnyTensor]
    ) -> Call: ...
    def get_output_tensor_by_name(self, response: Response, name: str) -> AnyTensor | None: ...


def triton() -> Utils:
    return cast(Utils, importlib.import_module("triton_python_backend_utils"))


def error(message: str, code: str) -> Exception:
    """A Triton error; `code` is a name of `TritonError`, such as INVALID_ARG, UNAVAILABLE or INTERNAL."""
    utils = importlib.import_module("triton_python_backend_utils")
    return cast(Exception, utils.TritonError(message, getattr(utils.TritonError, code)))


def log(message: str) -> None:
    importlib.import_module("triton_python_backend_utils").Logger.log_info(message)


def require_numpy_1() -> None:
    """Refuse to serve where Triton's stub would corrupt tensors without an error (pybind11's old array layout)."""
    if int(np.__version__.split(".")[0]) >= 2:
        raise RuntimeError(
            f"numpy {np.__version__} is installed where Triton's Python stub runs, and corrupts tensors there without "
            "an error: install numpy>=1.26,<2 in the environment that is first on tritonserver's PATH"
        )
