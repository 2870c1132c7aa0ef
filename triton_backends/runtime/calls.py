"""Calls another model of the same Triton (business logic scripting), from any thread of a decoupled model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from triton_backends.runtime.triton import Array, triton

# What Triton says of a model that is not there, in words of ours: a control plane must not take them for the caller's.
_ABSENT = (
    "not ready",
    "unknown model",
    "not found",
    "no available versions",
    "not healthy",
    "not at ready state",
    "shutting down",
)


class ModelUnavailable(RuntimeError):
    """The model that was called is not loaded, or its process has died."""


class CallFailed(RuntimeError):
    """The model that was called ran and failed, or gave something else than it was asked for."""


def call(model: str, inputs: Mapping[str, Array], output: str) -> Array:
    """One output of a model for these inputs. Raises: ModelUnavailable, CallFailed."""
    utils = triton()
    tensors = [utils.Tensor(name, array) for name, array in inputs.items()]
    try:
        response = utils.InferenceRequest(model_name=model, requested_output_names=[output], inputs=tensors).exec()
    except Exception as failure:
        raise _failure(model, str(failure)) from None
    if response.has_error():
        raise _failure(model, response.error().message())
    tensor = utils.get_output_tensor_by_name(response, output)
    if tensor is None:
        raise CallFailed(f"the model {model!r} gave no output {output!r}")
    # A copy: the memory is Triton's, and goes with the response.
    return np.array(tensor.as_numpy())


def _failure(model: str, reason: str) -> Exception:
    told = reason.lower()
    if any(words in told for words in _ABSENT):
        return ModelUnavailable(f"the model {model!r}, which this one calls, is not loaded or has died")
    return CallFailed(f"the model {model!r}, which this one calls, failed: {reason}")
