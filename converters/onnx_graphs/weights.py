"""The weights of a graph as tensors, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.recipe import Refused

# ONNX's names of the types that safetensors has, and torch's.
_DTYPES = {"FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "DOUBLE": "float64", "BOOL": "bool",
           "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
           "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
           "FLOAT8E4M3FN": "float8_e4m3fn", "FLOAT8E5M2": "float8_e5m2"}  # fmt: skip


def weights_of(graph: Any) -> Iterator[tuple[str, Any]]:
    """Every initializer and constant tensor, those of subgraphs below the name of their node. Raises: Refused."""
    for tensor in graph.initializer:
        yield tensor.name, _weight(tensor.name, tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value" and attribute.t.dims:
                yield node.output[0], _weight(node.output[0], attribute.t)
            for below in (attribute.g, *attribute.graphs):
                for name, weight in weights_of(below):
                    yield f"{node.name or node.output[0]}/{attribute.name}/{name}", weight


def _weight(name: str, tensor: Any) -> Any:
    import torch
    from onnx import TensorProto, numpy_helper

    kind = TensorProto.DataType.Name(tensor.data_type)
    if kind not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise Refused(f"the weight {name!r} is of the type {kind}, which safetensors does not have; it has: {known}")
    dtype, shape = getattr(torch, _DTYPES[kind]), tuple(tensor.dims)
    content = bytearray(numpy_helper.to_array(tensor).tobytes())
    return torch.frombuffer(content, dtype=dtype).reshape(shape) if content else torch.empty(shape, dtype=dtype)
