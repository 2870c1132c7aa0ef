"""What a conversion child says: one event a line."""

from __future__ import annotations

from dataclasses import dataclass, field

from converters.contract.requests import JsonObject, StepRequest, TensorFact


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
class CandidateFact:
    """One way to a better model that an optimization may try.

    `takes`: formats of the graph that it fits. `graph`: which model `steps` begin with: `baseline`, `source` (what
    that was made of) or `best` (the best found so far, which without steps is served with other settings).
    `settings`: how Triton serves it, over those of the best so far. `reason` says why it cannot run on this machine.
    """

    name: str
    takes: tuple[str, ...]
    graph: str = "baseline"
    steps: tuple[StepRequest, ...] = ()
    settings: JsonObject = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LevelFact:
    """An optimization level: what it adds to the one before.

    `min_accuracy` None and `candidates_max` None: as before, and as many as the time allows. `search`: the settings
    of a search that is more than a list of candidates, by its name (`serving`, `joint`, `proof`).
    """

    name: str
    summary: str
    min_accuracy: float | None
    candidates_max: int | None
    candidates: tuple[CandidateFact, ...]
    search: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cataloged:
    """`levels`: from the lowest to the highest."""

    recipes: tuple[RecipeFact, ...]
    levels: tuple[LevelFact, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampled:
    """`file`: what the model is measured with, as JSON: `{"requests": [[{name, datatype, shape, data}, ...], ...]}`.

    Each request is a list of the served model's inputs; `data` is flat.
    """

    file: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How alike two models answer; `metric` is a Measure of converters.checks.measures, `value` 0..1 (contract 0.4).

    `data` says in words what they were asked, `extra` has other measures of the same answers.
    """

    metric: str
    value: float
    samples: int
    data: str
    extra: dict[str, float] = field(default_factory=dict)


Event = Inspected | Failed | Progressed | Converted | Cataloged | Sampled | Evaluated
