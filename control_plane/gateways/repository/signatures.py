"""Does config.pbtxt say what model.onnx says? And the configuration of a model that has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Signature, TensorSpec
from control_plane.gateways.repository.pbtxt import ModelConfig, datatype_name, datatype_number, new_config


def config_for(signature: Signature) -> ModelConfig:
    """A whole configuration for a bare ONNX file: Triton completes nothing for Python-based backends."""
    config = new_config()
    config.backend = "onnxruntime"
    config.max_batch_size = signature.max_batch_size
    if signature.max_batch_size:
        config.dynamic_batching.SetInParent()
    return config


def complete_tensors(config: ModelConfig, signature: Signature) -> None:
    """Fill in the inputs or outputs that a configuration leaves to Triton. Raises InvalidRequest."""
    for role, tensors, specs in (
        ("input", config.input, signature.inputs),
        ("output", config.output, signature.outputs),
    ):
        if tensors:
            continue
        for spec in specs:
            tensors.add(
                name=spec.name,
                data_type=datatype_number(spec.datatype),
                dims=_dims(role, spec, config.max_batch_size),
            )


def check_agreement(config: ModelConfig, signature: Signature) -> None:
    """Raises InvalidRequest naming the first input or output on which the two differ."""
    batched = bool(config.max_batch_size)
    _check_role("input", config.input, signature.inputs, batched=batched)
    _check_role("output", config.output, signature.outputs, batched=batched)
    missing = {spec.name for spec in signature.inputs} - {tensor.name for tensor in config.input}
    if missing:
        raise InvalidRequest(f"model.onnx needs the input {min(missing)!r}, which config.pbtxt does not list")


def _check_role(role: str, tensors: Iterable[Any], specs: Sequence[TensorSpec], *, batched: bool) -> None:
    known = {spec.name: spec for spec in specs}
    for tensor in tensors:
        spec = known.get(tensor.name)
        if spec is None:
            names = ", ".join(known)
            raise InvalidRequest(
                f"config.pbtxt lists the {role} {tensor.name!r}, which model.onnx does not have; it has {names}"
            )
        dims = tuple(tensor.reshape.shape) if tensor.HasField("reshape") else tuple(tensor.dims)
        shape = (-1, *dims) if batched else dims
        datatype = datatype_name(tensor.data_type)
        if datatype != spec.datatype or not _fits(shape, spec.shape):
            raise InvalidRequest(
                f"{role} {tensor.name!r}: config.pbtxt says {datatype} {list(shape)}"
                f"{' with the batch axis' if batched else ''}, model.onnx says {spec.datatype} {list(spec.shape)}"
            )


def _fits(shape: tuple[int, ...], real: tuple[int, ...]) -> bool:
    """An axis that the model leaves open takes anything; a fixed one only its own size."""
    return len(shape) == len(real) and all(size in (-1, want) for want, size in zip(shape, real, strict=True))


def _dims(role: str, spec: TensorSpec, max_batch_size: int) -> Sequence[int]:
    dims = spec.shape
    if max_batch_size:
        if not spec.shape or spec.shape[0] != -1:
            raise InvalidRequest(
                f"config.pbtxt says max_batch_size {max_batch_size}, but {role} {spec.name!r} of model.onnx has "
                f"the shape {list(spec.shape)}, whose first axis is no batch; say max_batch_size: 0"
            )
        dims = spec.shape[1:]
    if not dims:
        raise InvalidRequest(
            f"{role} {spec.name!r} of model.onnx is a single number per request; Triton needs an axis: "
            "write a config.pbtxt with dims: [ 1 ] and reshape { shape: [ ] }"
        )
    return dims
