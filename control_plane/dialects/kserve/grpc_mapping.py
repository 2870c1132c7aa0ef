"""What the messages of `inference.GRPCInferenceService` mean; raw tensors pass through without being looked into."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from control_plane.dialects.kserve.mapping import to_output, to_parameters, to_reference
from control_plane.domain.errors import InvalidRequest, PayloadTooLarge, Unsupported
from control_plane.domain.models import Revision, TensorSpec
from control_plane.domain.tensors import BYTES, WIDTHS, Parameter, Tensor, bytes_tensor, pack_flat
from control_plane.pb.inference import messages as pb
from control_plane.services.inference import TensorAnswer, TensorRequest

# The field of `contents` that carries a datatype; the 16-bit floats have none.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
# Each is looked at in the event loop; a message of 64 MiB may hold 30 million, which would hold it for seconds.
TYPED_VALUES_MAX = 1_000_000
_DATATYPES = (*WIDTHS, "BF16", BYTES)


def to_tensor_request(request: Any, request_id: str) -> TensorRequest:
    """Raises InvalidRequest for what does not fit, Unsupported for tensors in shared memory."""
    return TensorRequest(
        to_reference(request.model_name, request.model_version or None),
        _tensors(request),
        tuple(_output(output) for output in request.outputs),
        to_parameters({name: _value(name, parameter) for name, parameter in request.parameters.items()}),
        request.id or request_id,
    )


def infer_response(answer: TensorAnswer, request: Any) -> Any:
    """A ModelInferResponse, its tensors raw."""
    return pb.ModelInferResponse(
        model_name=request.model_name,
        model_version=str(answer.revision.number),
        id=request.id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            for tensor in answer.outputs
        ],
        raw_output_contents=[tensor.raw for tensor in answer.outputs],
    )


def metadata_response(revision: Revision, name: str, numbers: Iterable[int]) -> Any:
    """A ModelMetadataResponse. `name` is the caller's; `numbers` are the revisions of the model."""
    return pb.ModelMetadataResponse(
        name=name,
        versions=[str(number) for number in numbers],
        platform=revision.backend,
        inputs=_specs(revision.signature.inputs),
        outputs=_specs(revision.signature.outputs),
    )


def _specs(specs: Iterable[TensorSpec]) -> list[Any]:
    kind = pb.ModelMetadataResponse.TensorMetadata
    return [kind(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in specs]


def _tensors(request: Any) -> tuple[Tensor, ...]:
    inputs, raws = request.inputs, request.raw_input_contents
    for given in inputs:
        _check(given)
    if not raws:
        _check_typed_count(inputs)
        return tuple(_typed(given) for given in inputs)
    if len(raws) != len(inputs):
        raise InvalidRequest(f"raw_input_contents must hold one item for each of {len(inputs)} inputs, got {len(raws)}")
    return tuple(_raw(given, raw) for given, raw in zip(inputs, raws, strict=True))


def _check(given: Any) -> None:
    _refuse_shared_memory(f"input {given.name!r}", given.parameters)
    if given.parameters:
        raise InvalidRequest(f"input {given.name!r}: parameter {min(given.parameters)!r} is not supported")
    if given.datatype not in _DATATYPES:
        known = ", ".join(_DATATYPES)
        raise InvalidRequest(f"input {given.name!r}: unknown datatype {given.datatype[:20]!r}; known are {known}")


def _check_typed_count(inputs: Iterable[Any]) -> None:
    count = sum(len(values) for given in inputs for _, values in given.contents.ListFields())
    if count > TYPED_VALUES_MAX:
        raise PayloadTooLarge(
            f"{count} values in contents are more than {TYPED_VALUES_MAX}; send such tensors in raw_input_contents"
        )


def _raw(given: Any, raw: bytes) -> Tensor:
    if given.HasField("contents"):
        raise InvalidRequest(f"input {given.name!r}: send its values in raw_input_contents or in contents, not in both")
    if any(size < 0 for size in given.shape):
        raise InvalidRequest(f"input {given.name!r}: shape {list(given.shape)} has a negative size")
    return Tensor(given.name, given.datatype, tuple(given.shape), raw)


def _typed(given: Any) -> Tensor:
    field = _CONTENTS.get(given.datatype)
    if field is None:
        raise InvalidRequest(f"input {given.name!r}: {given.datatype} travels in raw_input_contents only")
    foreign = [used.name for used, _ in given.contents.ListFields() if used.name != field]
    if foreign:
        raise InvalidRequest(f"input {given.name!r}: {given.datatype} travels in {field}, not in {foreign[0]}")
    values = list(getattr(given.contents, field))  # protobuf's own sequence takes twice as long to pack
    if given.datatype == BYTES:
        return bytes_tensor(given.name, given.shape, values)
    return pack_flat(given.name, given.datatype, given.shape, values)


def _output(output: Any) -> str:
    _refuse_shared_memory(f"output {output.name!r}", output.parameters)
    return to_output(output.name, output.parameters)


def _refuse_shared_memory(what: str, parameters: Collection[str]) -> None:
    if any(name.startswith("shared_memory_") for name in parameters):
        raise Unsupported(f"{what}: shared memory is not offered; send and receive the bytes", requires="raw tensors")


def _value(name: str, parameter: Any) -> Parameter:
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidRequest(f"parameters.{name} has no value", field="parameters")
    value: Parameter = getattr(parameter, choice)
    return value
