"""Tensors as Triton's wire has them: a name, a datatype, a shape and raw little-endian bytes."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.domain.errors import InvalidRequest

WIDTHS = {"BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, "UINT32": 4, "INT32": 4, "FP32": 4,
          "UINT64": 8, "INT64": 8, "FP64": 8}  # fmt: skip
_ARRAYS = {"UINT8": "B", "INT8": "b", "UINT16": "H", "INT16": "h", "UINT32": "I", "INT32": "i", "FP32": "f",
           "UINT64": "Q", "INT64": "q", "FP64": "d"}  # fmt: skip
_FLOATS = {"FP16": "e", "FP32": "f"}
BYTES = "BYTES"
Parameter = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Tensor:
    """`raw` is little-endian and row-major; BYTES elements carry a four-byte length each.

    Source: Open Inference Protocol, "Tensor Data"; Triton, "Binary tensor data extension".
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Inference:
    """One request for a model directory in Triton. `outputs` empty means all of them.

    `takes_cancel`: the model ends an answer when another request says so, and the call need not be cancelled.
    """

    directory: str
    inputs: tuple[Tensor, ...]
    timeout_s: float
    outputs: tuple[str, ...] = ()
    parameters: tuple[tuple[str, Parameter], ...] = ()
    request_id: str = ""
    takes_cancel: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of a model; a decoupled model gives several, the last of them `is_final`."""

    outputs: tuple[Tensor, ...]
    is_final: bool = True

    def output(self, name: str) -> Tensor | None:
        return next((tensor for tensor in self.outputs if tensor.name == name), None)


def element_count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def pack(name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> Tensor:
    """A tensor from JSON values, flat or nested row by row. Raises InvalidRequest where they do not fit."""
    return pack_flat(name, datatype, shape, list(_flattened(values)))


def pack_flat(name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> Tensor:
    """As `pack`, of values that are not nested."""
    _check_count(name, shape, len(values))
    return Tensor(name, datatype, tuple(shape), _raw(name, datatype, values))


def unpack(tensor: Tensor) -> list[Any]:
    """The flat JSON values of a tensor. Raises InvalidRequest for BF16, and for BYTES that are not UTF-8."""
    if tensor.datatype == BYTES:
        try:
            return [element.decode() for element in bytes_elements(tensor.raw)]
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"output {tensor.name!r} is not text; JSON cannot carry it") from error
    if tensor.datatype == "BOOL":
        return [byte != 0 for byte in tensor.raw]
    if tensor.datatype == "FP16":
        return list(struct.unpack(f"<{len(tensor.raw) // 2}e", tensor.raw))
    if tensor.datatype not in _ARRAYS:
        raise InvalidRequest(f"output {tensor.name!r} is {tensor.datatype}; JSON cannot carry it")
    return array(_ARRAYS[tensor.datatype], tensor.raw).tolist()


def text_tensor(name: str, *texts: str) -> Tensor:
    return Tensor(name, BYTES, (len(texts),), _pack_bytes([text.encode() for text in texts]))


def bytes_tensor(name: str, shape: Sequence[int], elements: Sequence[bytes]) -> Tensor:
    """Raises InvalidRequest where the elements do not fill the shape."""
    _check_count(name, shape, len(elements))
    return Tensor(name, BYTES, tuple(shape), _pack_bytes(elements))


def bytes_elements(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : end]
        at = end


def _check_count(name: str, shape: Sequence[int], count: int) -> None:
    if any(size < 0 for size in shape) or element_count(shape) != count:
        raise InvalidRequest(f"input {name!r}: shape {list(shape)} needs {element_count(shape)} values, got {count}")


def _flattened(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flattened(value)
        else:
            yield value


def _raw(name: str, datatype: str, flat: Sequence[Any]) -> bytes:
    try:
        if datatype == BYTES:
            return _pack_bytes([value.encode() for value in flat])
        if datatype == "BOOL":
            return bytes(_boolean(value) for value in flat)
        if datatype in _FLOATS:  # an array would take what is too large as infinite
            return struct.pack(f"<{len(flat)}{_FLOATS[datatype]}", *flat)
        if datatype in _ARRAYS:
            return array(_ARRAYS[datatype], flat).tobytes()
    except (TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
        raise InvalidRequest(f"input {name!r}: a value does not fit datatype {datatype}: {error}") from error
    known = ", ".join([*WIDTHS, BYTES])
    raise InvalidRequest(f"input {name!r}: unknown datatype {datatype[:20]!r}; known are {known}")


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(f"{value!r} is not true or false")


def _pack_bytes(elements: Sequence[bytes]) -> bytes:
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)
