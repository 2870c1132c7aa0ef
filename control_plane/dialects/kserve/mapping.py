"""What KServe v2's words mean, and how an answer is said in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from control_plane.dialects.kserve.protocol import (
    OpenInferenceRequest,
    OpenInferenceResponse,
    RequestOutput,
    ResponseOutput,
)
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.tensors import Parameter, pack, unpack
from control_plane.services.inference import TensorAnswer, TensorRequest

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
# How tensors travel between client and server; nothing that a model could use.
_TRANSPORT = frozenset({"binary_data", "binary_data_output", "binary_data_size"})


def to_tensor_request(request: OpenInferenceRequest, model: str, version: str | None, request_id: str) -> TensorRequest:
    """`version` is a revision's number. Raises InvalidRequest for values that do not fit their tensor."""
    return TensorRequest(
        to_reference(model, version),
        tuple(pack(tensor.name, tensor.datatype, tensor.shape, tensor.data) for tensor in request.inputs),
        tuple(_output_name(output) for output in request.outputs or ()),
        to_parameters(request.parameters or {}),
        request.id or request_id,
    )


def to_response(answer: TensorAnswer, model: str, request_id: str) -> OpenInferenceResponse:
    outputs = [ResponseOutput(tensor.name, tensor.datatype, tensor.shape, unpack(tensor)) for tensor in answer.outputs]
    return OpenInferenceResponse(model, str(answer.revision.number), outputs, request_id)


def to_reference(model: str, version: str | None) -> str:
    """`version` is a revision's number."""
    if version is None:
        return model
    if ":" in model or "@" in model:
        raise InvalidRequest("name the revision once: in the model's name or as its version")
    return f"{model}:{version}"


def to_parameters(given: Mapping[str, Parameter]) -> tuple[tuple[str, Parameter], ...]:
    wanted = sorted((name, value) for name, value in given.items() if name not in _TRANSPORT)
    for name, value in wanted:
        if isinstance(value, int) and not _INT64_MIN <= value <= _INT64_MAX:
            raise InvalidRequest(f"parameters.{name}: the number does not fit into 64 bits", field="parameters")
    return tuple(wanted)


def to_output(name: str, parameters: Collection[str]) -> str:
    """The output's name. `parameters` are the names of what is asked of it."""
    foreign = sorted(set(parameters) - _TRANSPORT)
    if foreign:
        raise InvalidRequest(f"output {name!r}: parameter {foreign[0]!r} is not supported", field="outputs")
    return name


def _output_name(output: RequestOutput) -> str:
    return to_output(output.name, output.parameters or {})
