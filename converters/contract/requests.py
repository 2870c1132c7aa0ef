"""What a conversion child is asked: the JOB.json of each command."""

from __future__ import annotations

from dataclasses import dataclass, field

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class TensorFact:
    """An input or output of an ONNX graph. `datatype` is Triton's word; -1 in `shape` is chosen by the caller."""

    name: str
    datatype: str
    shape: tuple[int, ...]


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
    `compare`: whether the result is compared with its source; who compares it otherwise need not wait for that.
    """

    source: str
    precision: str | None = None
    inputs: tuple[TensorFact, ...] = ()
    steps: tuple[StepRequest, ...] | None = None
    calibration: str | None = None
    compare: bool = True


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """JOB.json of `sample`. `model`: a folder with a graph; `count` requests of `rows` rows, each `length` tokens long.

    `length` also stands for the free axes of tensors. `data`: a file of inputs (docs/optimizing.md); None: our own.
    """

    model: str
    count: int
    rows: int
    length: int
    data: str | None = None


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """JOB.json of `evaluate`. `baseline`, `candidate`: folders with graphs of the same format."""

    baseline: str
    candidate: str
    data: str | None = None


# fp32, fp16, bf16: all weights; int8: dynamic, int8_static: calibrated, both with 8-bit activations;
# q8, q4: weights only, in blocks of 32, activations stay as they are.
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8_static", "q8", "q4")
