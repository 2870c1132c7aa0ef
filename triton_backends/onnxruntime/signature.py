"""What a model takes and gives by its config.pbtxt and its graph, and whether tensors are of that kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_backends.runtime.triton import Array

# Triton's type: onnxruntime's type, and numpy's in Triton's Python stub. No BF16: the stub cannot hold it.
TYPES: dict[str, tuple[str, type[np.generic]]] = {
    "TYPE_BOOL": ("tensor(bool)", np.bool_),
    "TYPE_UINT8": ("tensor(uint8)", np.uint8),
    "TYPE_UINT16": ("tensor(uint16)", np.uint16),
    "TYPE_UINT32": ("tensor(uint32)", np.uint32),
    "TYPE_UINT64": ("tensor(uint64)", np.uint64),
    "TYPE_INT8": ("tensor(int8)", np.int8),
    "TYPE_INT16": ("tensor(int16)", np.int16),
    "TYPE_INT32": ("tensor(int32)", np.int32),
    "TYPE_INT64": ("tensor(int64)", np.int64),
    "TYPE_FP16": ("tensor(float16)", np.float16),
    "TYPE_FP32": ("tensor(float)", np.float32),
    "TYPE_FP64": ("tensor(double)", np.float64),
    "TYPE_STRING": ("tensor(string)", np.object_),
}


class InvalidTensor(ValueError):
    """A tensor that does not fit the model; the text says which and how."""


class UnfitConfig(ValueError):
    """config.pbtxt and the graph disagree."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: dimensions without the batch's, -1 for any."""

    name: str
    type: type[np.generic]
    dims: tuple[int, ...]
    optional: bool = False

    def fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.dims) and all(
            wanted in (-1, given) for wanted, given in zip(self.dims, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs that config.pbtxt names."""

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    batches: bool

    @classmethod
    def read(cls, config: Mapping[str, Any], session: Any) -> Signature:
        """Raises: UnfitConfig where the graph does not have what config.pbtxt names."""
        inputs = [_port(entry) for entry in config.get("input", [])]
        outputs = [_port(entry) for entry in config.get("output", [])]
        _compare(config.get("input", []), session.get_inputs(), "input")
        _compare(config.get("output", []), session.get_outputs(), "output")
        return cls(
            {port.name: port for port in inputs},
            {port.name: port for port in outputs},
            config.get("max_batch_size", 0) > 0,
        )

    def check_inputs(self, given: dict[str, Array]) -> dict[str, Array]:
        """Raises: InvalidTensor."""
        missing = [name for name, port in self.inputs.items() if name not in given and not port.optional]
        if missing:
            raise InvalidTensor(f"input {missing[0]!r} is missing")
        for name, array in given.items():
            self._check(self.inputs[name], array, "input")
        rows = {array.shape[0] for array in given.values()} if self.batches else set()
        if len(rows) > 1:
            raise InvalidTensor(f"the inputs have different numbers of rows: {sorted(rows)}")
        return given

    def check_outputs(self, outputs: dict[str, Array], rows: int | None) -> None:
        """Triton passes a wrong shape on without a word, so it is caught here. Raises: InvalidTensor."""
        for name, array in outputs.items():
            self._check(self.outputs[name], array, "output")
            if rows is not None and array.shape[0] != rows:
                raise InvalidTensor(f"output {name!r} has {array.shape[0]} rows for an input of {rows}")

    def _check(self, port: Port, array: Array, side: str) -> None:
        shape = array.shape[1:] if self.batches else array.shape
        if (self.batches and not array.ndim) or not port.fits(shape):
            wanted = [*(["rows"] if self.batches else []), *port.dims]
            raise InvalidTensor(f"{side} {port.name!r} has shape {list(array.shape)}; the model has {wanted}")


def to_graph(array: Array) -> Array:
    """BYTES to the text that onnxruntime takes. Raises: InvalidTensor."""
    if array.dtype != np.object_:
        return np.ascontiguousarray(array)
    try:
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
    except UnicodeDecodeError as problem:
        raise InvalidTensor(f"a string is not UTF-8: {problem.reason} at byte {problem.start}") from None
    return _objects(texts, array.shape)


def from_graph(array: Array) -> Array:
    if array.dtype.kind not in "OU":
        return array
    return _objects([str(item).encode() for item in array.reshape(-1)], array.shape)


def _objects(values: list[Any], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array.reshape(shape)


def _port(entry: Mapping[str, Any]) -> Port:
    if entry["data_type"] not in TYPES:
        raise UnfitConfig(f"{entry['name']!r} is of {entry['data_type']}, which cannot cross into Triton's Python stub")
    # `reshape` is what the model sees; `dims` is what the caller sees. The stub is given the reshaped tensor.
    dims = entry.get("reshape", {}).get("shape", entry["dims"])
    return Port(
        entry["name"], TYPES[entry["data_type"]][1], tuple(int(size) for size in dims), entry.get("optional", False)
    )


def _compare(entries: list[Mapping[str, Any]], graph: list[Any], side: str) -> None:
    found = {node.name: node.type for node in graph}
    for entry in entries:
        name, wanted = entry["name"], TYPES[entry["data_type"]][0]
        if name not in found:
            raise UnfitConfig(f"config.pbtxt names {side} {name!r}; the graph has {sorted(found)}")
        if found[name] != wanted:
            raise UnfitConfig(f"{side} {name!r} is {entry['data_type']} in config.pbtxt and {found[name]} in the graph")
    named = {entry["name"] for entry in entries}
    missing = sorted(set(found) - named) if side == "input" else []
    if missing:
        raise UnfitConfig(f"config.pbtxt does not name input {missing[0]!r} of the graph")
