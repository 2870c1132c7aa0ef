"""The parts of an ONNX file that onnxruntime does not show: its weights, and the files it wants to read.

Only the fields named here are decoded, so the server needs no `onnx` package.
Source: onnx/onnx.proto (field numbers), ONNX "External Data".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_FIELD = descriptor_pb2.FieldDescriptorProto
_EXTERNAL = 1  # TensorProto.DataLocation
# message -> field -> (number, type); a type that is no scalar names another message here. All are repeated.
_SCALARS = {"int64": _FIELD.TYPE_INT64, "int32": _FIELD.TYPE_INT32, "string": _FIELD.TYPE_STRING}
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {"graph": (7, "Graph"), "opset_import": (8, "Opset"), "functions": (25, "Function")},
    "Opset": {"domain": (1, "string"), "version": (2, "int64")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse_initializer": (15, "SparseTensor"),
              "output": (12, "Value")},
    "Value": {"name": (1, "string")},
    "Function": {"node": (7, "Node")},
    "Node": {"input": (1, "string"), "op_type": (4, "string"), "attribute": (5, "Attribute")},
    "Attribute": {"name": (1, "string"), "i": (3, "int64"), "t": (5, "Tensor"), "g": (6, "Graph"),
                  "tensors": (10, "Tensor"), "graphs": (11, "Graph"), "sparse_tensor": (22, "SparseTensor")},
    "SparseTensor": {"values": (1, "Tensor")},
    "Tensor": {"dims": (1, "int64"), "data_type": (2, "int32"), "name": (8, "string"),
               "external_data": (13, "Entry"), "data_location": (14, "int32")},
    "Entry": {"key": (1, "string"), "value": (2, "string")},
}  # fmt: skip
# TensorProto.DataType of weights; integers of 32 and 64 bits are shapes and indices, and are not counted.
_WEIGHTS = {1: "float32", 2: "int8", 3: "int8", 10: "float16", 11: "float64", 16: "bfloat16", 17: "float8",
            18: "float8", 19: "float8", 20: "float8", 21: "int4", 22: "int4"}  # fmt: skip
# Operators that pack several weights into a byte: which input holds them.
_PACKED = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
_PACKED_BITS_DEFAULT = 4


class BrokenGraph(ValueError):
    """The bytes are no ONNX model."""


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """`dtype` is the type of most weights; None where there are none. `external_files` as the file spells them."""

    parameters: int
    dtype: str | None
    opset: int
    external_files: frozenset[str]


def read_graph(content: bytes) -> GraphFacts:
    """Raises BrokenGraph."""
    model = _decode(content)
    tensors: list[Any] = []
    packed_bits: dict[str, int] = {}
    for node in _nodes(model, tensors):
        packed_bits.update(_packed(node))
        tensors.extend(_attribute_tensors(node))
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts.update(_weights(tensor, packed_bits))
    external = {_location(tensor) for tensor in tensors if _last(tensor.data_location, 0) == _EXTERNAL}
    dtype = counts.most_common(1)[0][0] if counts else None
    return GraphFacts(counts.total(), dtype, _opset(model), frozenset(external))


def _decode(content: bytes) -> Any:
    model: Any = message_factory.GetMessageClass(_pool().FindMessageTypeByName("onnx.Model"))()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise BrokenGraph("the file is no ONNX model, or is cut short") from error
    if not model.graph or not model.opset_import:
        raise BrokenGraph("the file is no ONNX model: it holds no graph")
    if not any(graph.output for graph in model.graph):
        raise BrokenGraph("its graph has no outputs")
    return model


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="onnx_subset.proto", package="onnx", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=_FIELD.LABEL_REPEATED)
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".onnx.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _nodes(model: Any, tensors: list[Any]) -> Iterator[Any]:
    """Every node of every graph, subgraphs and functions too; collects the initializers it passes."""
    waiting = [*model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        if graph.DESCRIPTOR.name == "Graph":
            tensors.extend(graph.initializer)
            tensors.extend(value for sparse in graph.sparse_initializer for value in sparse.values)
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                waiting.extend([*attribute.g, *attribute.graphs])


def _attribute_tensors(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from attribute.t
        yield from attribute.tensors
        for sparse in attribute.sparse_tensor:
            yield from sparse.values


def _packed(node: Any) -> dict[str, int]:
    position = _PACKED.get(_last(node.op_type, ""))
    if position is None or len(node.input) <= position:
        return {}
    bits = next((_last(entry.i, 0) for entry in node.attribute if _last(entry.name, "") == "bits"), 0)
    return {node.input[position]: bits or _PACKED_BITS_DEFAULT}


def _weights(tensor: Any, packed_bits: dict[str, int]) -> dict[str, int]:
    dtype = _WEIGHTS.get(_last(tensor.data_type, 0))
    if dtype is None or any(size < 0 for size in tensor.dims):
        return {}
    count = math.prod(tensor.dims)
    bits = packed_bits.get(_last(tensor.name, ""))
    if dtype == "int8" and bits in (1, 2, 4):
        return {f"int{bits}": count * 8 // bits}
    return {dtype: count}


def _location(tensor: Any) -> str:
    return next((_last(entry.value, "") for entry in tensor.external_data if _last(entry.key, "") == "location"), "")


def _opset(model: Any) -> int:
    versions = [_last(entry.version, 0) for entry in model.opset_import if _last(entry.domain, "") in ("", "ai.onnx")]
    return max(versions, default=0)


def _last(values: Any, default: Any) -> Any:
    """A field's value: where a field is repeated on the wire, the last one counts."""
    return values[-1] if values else default
