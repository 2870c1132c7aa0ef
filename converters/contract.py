"""What the control plane and a conversion child say to each other: a command line in, JSON lines out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

JsonObject = dict[str, object]


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
    """Why the job could not be done, in a sentence that a caller may read; `code` is one of the domain's."""

    message: str
    code: str = "INVALID_REQUEST"
    details: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a conversion is: `fraction` 0..1 of all of it."""

    fraction: float
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a model that a conversion made. `kind` is the wire's model_type; `parameters` counts weights."""

    kind: str = "generic"
    tasks: tuple[str, ...] = ()
    parameters: int | None = None
    dtype: str | None = None
    context_length: int | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Converted:
    """The end of a conversion. `directory`: a Triton model directory without config.pbtxt, in the workspace.

    `record` goes into the revision's manifest: `steps` (recipe, parameters, digests, seconds), `checks`, `tools`.
    """

    directory: str
    facts: Facts
    record: JsonObject


@dataclass(frozen=True, slots=True)
class RecipeFact:
    """A recipe of the catalog; `reason` says why it cannot run on this machine."""

    name: str
    summary: str
    available: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Cataloged:
    recipes: tuple[RecipeFact, ...]


Event = Inspected | Failed | Progressed | Converted | Cataloged


@dataclass(frozen=True, slots=True)
class StepRequest:
    """One recipe of a plan and the parameters that differ from its defaults."""

    recipe: str
    parameters: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """JOB.json. `source`: a folder or file; `precision`: one of PRECISIONS, None keeps the source's.

    `inputs` describes what a TorchScript file takes, which it does not say itself. `steps` None: the plan that fits
    the source and the precision. `calibration`: an .npz of inputs (name -> [rows, ...]) for static quantization.
    """

    source: str
    precision: str | None = None
    inputs: tuple[TensorFact, ...] = ()
    steps: tuple[StepRequest, ...] | None = None
    calibration: str | None = None


# fp32, fp16, bf16: all weights; int8: dynamic, int8_static: calibrated, both with 8-bit activations;
# q8, q4: weights only, in blocks of 32, activations stay as they are.
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8_static", "q8", "q4")


class BrokenStream(ValueError):
    """A line of a child is none of the events above."""


def inspect_command(python: str, path: Path) -> list[str]:
    """How to inspect an ONNX file; -P keeps whatever lies in the working directory out of the child's imports."""
    return [python, "-P", "-m", "converters", "inspect", str(path)]


def run_command(python: str, job_file: Path) -> list[str]:
    """How to run the conversion of a JOB.json; the folder that holds the file is the workspace."""
    return [python, "-P", "-m", "converters", "run", str(job_file)]


def catalog_command(python: str) -> list[str]:
    return [python, "-P", "-m", "converters", "catalog"]


def request_to_json(request: ConversionRequest) -> JsonObject:
    return asdict(request)


def request_from_json(fields: Any) -> ConversionRequest:
    """Raises BrokenStream for what is not a request."""
    try:
        given = dict(fields)
        steps = given.get("steps")
        given["inputs"] = tuple(_tensor(entry) for entry in given.get("inputs") or ())
        given["steps"] = None if steps is None else tuple(StepRequest(**entry) for entry in steps)
        return ConversionRequest(**given)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenStream(f"not a conversion request: {error}") from error


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
                return Failed(**fields)
            case "progressed":
                return Progressed(**fields)
            case "converted":
                return Converted(fields["directory"], _facts(fields["facts"]), fields["record"])
            case "cataloged":
                return Cataloged(tuple(RecipeFact(**entry) for entry in fields["recipes"]))
            case unknown:
                raise BrokenStream(f"unknown event {unknown!r}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BrokenStream(f"not an event: {line[:200]!r}") from error


def _inspected(fields: dict[str, Any]) -> Inspected:
    fields["inputs"] = tuple(_tensor(entry) for entry in fields["inputs"])
    fields["outputs"] = tuple(_tensor(entry) for entry in fields["outputs"])
    return Inspected(**fields)


def _facts(fields: dict[str, Any]) -> Facts:
    return Facts(**{**fields, "tasks": tuple(fields["tasks"])})


def _tensor(entry: dict[str, Any]) -> TensorFact:
    return TensorFact(entry["name"], entry["datatype"], tuple(entry["shape"]))
