"""What the server takes and tells of optimizations, as typed dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict

Level = Literal[
    "basic",
    "advanced",
    "expert",
    "master",
    "legendary",
    "transcendent",
    "divine",
    "omnipotent",
    "infinite",
    "ultimate",
    "absolute",
    "perfect",
]


class OptimizationParameters(TypedDict, total=False):
    """What is left out is the level's, or the server's default.

    `objective`: latency, throughput or memory. `eval_data`: a file below the server's import root. `recipes`: only
    these candidates. `deploy`: none, load or promote. `baseline`: a revision to compare with, for full precision.
    Units: seconds, milliseconds, tokens; `min_accuracy` 0 to 1.
    """

    min_accuracy: float
    time_budget_seconds: float
    objective: str
    eval_data: str
    batch_size: int
    sequence_length: int
    recipes: Sequence[str]
    deploy: str
    slo_p99_ms: float
    baseline: str


class OptimizeReply(TypedDict):
    optimization_id: str
    success: bool
    error_message: str | None
    ignored_parameters: NotRequired[list[str]]


class OptimizationStatus(TypedDict):
    """`status` is running, completed, failed or cancelled; `state` also queued. Units: `progress` 0 to 100."""

    optimization_id: str
    status: str
    progress: float
    performance_metrics: dict[str, float]
    error_message: str | None
    state: str
    model_id: str
    optimization_level: str
    optimized_model_id: str | None
    current_step: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None


class ServingNumbers(TypedDict):
    """One model as it was measured. Units: seconds; `throughput` items a second; bytes."""

    latency_p50_s: float
    latency_p95_s: float
    throughput: float
    size_bytes: int
    tokens_per_second: float | None
    concurrency: NotRequired[int | None]
    memory_bytes: NotRequired[int | None]


class TriedRecipe(TypedDict):
    """A candidate and what became of it: applied, rejected or skipped. `metrics`: empty where nothing was measured."""

    name: str
    status: str
    reason: str | None
    metrics: dict[str, float]
    level: NotRequired[str | None]


class MeasuredAccuracy(TypedDict):
    """`low_evidence`: measured on fewer than 100 inputs."""

    metric: str
    samples: int
    value: float
    low_evidence: NotRequired[bool | None]
    data: NotRequired[str | None]


class Artifact(TypedDict):
    path: str
    size_bytes: int
    sha256: str


class Deployment(TypedDict):
    """What was done with the new revision where a deployment was asked for; `reason` says why it was not more."""

    deployed: str
    reason: str | None


class OptimizationResults(TypedDict):
    """Of an optimization that is over; None and empty where nothing was measured. `chosen_recipe` is "baseline" where
    nothing was better."""

    optimization_id: str
    model_id: str
    optimized_model_id: str | None
    optimization_level: str
    status: str
    performance_metrics: dict[str, float]
    baseline: ServingNumbers | None
    optimized: ServingNumbers | None
    recipes: list[TriedRecipe]
    chosen_recipe: str | None
    accuracy: MeasuredAccuracy | None
    artifacts: list[Artifact]
    environment: dict[str, Any] | None
    created_at: str
    completed_at: str | None
    error_message: NotRequired[str | None]
    deployment: NotRequired[Deployment | None]
    pareto: NotRequired[list[dict[str, Any]] | None]


class CancelReply(TypedDict):
    success: bool
    optimization_id: str
    status: str


class Interval(TypedDict):
    """A ratio to the baseline, and the bounds that hold it in 95 % (and `low_999`: 99.9 %) of resamplings."""

    value: float
    low: float
    high: float
    low_999: float


class Rounds(TypedDict):
    """What was measured, round by round."""

    baseline: list[list[float]]
    candidate: list[list[float]]


class Comparison(TypedDict):
    """`latency`: seconds of each request; `rate`: items a second of each window."""

    baseline: dict[str, Any]
    candidate: dict[str, Any]
    latency: Rounds
    rate: Rounds
    speedup: Interval
    throughput_ratio: Interval


class Candidate(TypedDict):
    """What was tried, how, and all that was measured of it; None where it did not get so far."""

    name: str
    level: str
    status: str
    reason: str | None
    steps: list[dict[str, Any]]
    settings: dict[str, Any] | None
    artifacts: list[dict[str, Any]]
    accuracy: dict[str, Any] | None
    comparison: Comparison | None


class Final(TypedDict):
    """A finalist on fresh samples; `stands`: it is better than the baseline for certain."""

    name: str
    comparison: Comparison
    stands: NotRequired[bool]
    reason: NotRequired[str | None]


class Evidence(TypedDict):
    """All that an optimization measured. `result` is what its job gives; `machine` what it ran on."""

    schema: int
    optimization_id: str
    model: str
    baseline_revision: int
    options: dict[str, Any]
    result: dict[str, Any]
    candidates: list[Candidate]
    finals: list[Final]
    tools: dict[str, Any]
    machine: dict[str, Any]


class CatalogCandidate(TypedDict):
    """One way to a better model. `takes`: the kinds of models that it fits."""

    name: str
    takes: list[str]
    graph: NotRequired[str]
    available: bool
    reason: str | None
    steps: list[dict[str, Any]]
    settings: dict[str, Any]


class CatalogLevel(TypedDict):
    """What a level adds to the one before; `reason` says why none of it can run on the server's machine."""

    name: str
    summary: str
    min_accuracy: float | None
    candidates_max: NotRequired[int | None]
    available: bool
    reason: str | None
    candidates: list[CatalogCandidate]
    searches: NotRequired[list[str]]


class CatalogRecipe(TypedDict):
    name: str
    summary: str
    available: bool
    reason: str | None


class CatalogReply(TypedDict):
    """Levels from the lowest to the highest."""

    levels: list[CatalogLevel]
    recipes: list[CatalogRecipe]
