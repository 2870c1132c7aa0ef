"""What the control plane and a conversion child say to each other: a command line in, JSON lines out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorFact:
    """An input or output of an ONNX graph. `datatype` is Triton's word; -1 in `shape` is chosen by the caller."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inspected:
    """What an ONNX file says of itself.

    `has_batch_axis`: rows of several callers may share one execution. `parameters` counts weights, not bytes.
    """

    inputs: tuple[TensorFact, ...]
    outputs: tuple[TensorFact, ...]
    has_batch_axis: bool
    parameters: int
    dtype: str
    opset: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Why the job could not be done, in a sentence that a caller may read."""

    message: str


Event = Inspected | Failed


class BrokenStream(ValueError):
    """A line of a child is none of the events above."""


def inspect_command(python: str, path: Path) -> list[str]:
    """How to inspect an ONNX file; -P keeps whatever lies in the working directory out of the child's imports."""
    return [python, "-P", "-m", "converters", "inspect", str(path)]


def to_line(event: Event) -> str:
    return json.dumps({"event": type(event).__name__.lower(), **asdict(event)})


def from_line(line: str) -> Event:
    """Raises BrokenStream."""
    try:
        fields = json.loads(line)
        match fields.pop("event"):
            case "inspected":
                return _inspected(fields)
            case "failed":
                return Failed(str(fields["message"]))
            case unknown:
                raise BrokenStream(f"unknown event {unknown!r}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BrokenStream(f"not an event: {line[:200]!r}") from error


def _inspected(fields: dict[str, Any]) -> Inspected:
    fields["inputs"] = tuple(_tensor(entry) for entry in fields["inputs"])
    fields["outputs"] = tuple(_tensor(entry) for entry in fields["outputs"])
    return Inspected(**fields)


def _tensor(entry: dict[str, Any]) -> TensorFact:
    return TensorFact(entry["name"], entry["datatype"], tuple(entry["shape"]))
