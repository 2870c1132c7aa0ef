"""TruthGPT's words on optimizations (T-SCH-04..06, and what our results say)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from control_plane.dialects.truthgpt.protocol import Words
from control_plane.domain.optimization import Level
from control_plane.domain.references import REFERENCE_PATTERN
from control_plane.edge.http.schemas import Timestamp

OptimizationState = Literal["running", "completed", "failed", "cancelled"]
_LEVELS: list[Any] = [level.value for level in Level]


class OptimizationRequest(Words):
    """A value in `parameters` may be a string whatever its type."""

    model_id: str = Field(
        description="a reference: name, name:N or name@alias", json_schema_extra={"pattern": REFERENCE_PATTERN}
    )
    optimization_level: str = Field(json_schema_extra={"enum": _LEVELS})
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="min_accuracy, time_budget_seconds, objective (latency, throughput, memory), eval_data, "
        "batch_size, sequence_length, recipes, deploy (none, load, promote), slo_p99_ms, baseline",
    )


class OptimizationResponse(Words):
    """`ignored_parameters`: those that are accepted and change nothing."""

    optimization_id: str
    success: bool
    error_message: str | None = None
    ignored_parameters: list[str]


class OptimizationStatus(Words):
    """T-SCH-06 and more: `state` (also `queued`) and what follows are ours. `performance_metrics` is empty until
    something is measured. Units: `progress` 0 to 100, 100 once completed."""

    optimization_id: str
    status: OptimizationState
    progress: float
    performance_metrics: dict[str, float]
    error_message: str | None
    state: str
    model_id: str
    optimization_level: Level
    optimized_model_id: str | None
    current_step: str | None
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None


class ServingInfo(Words):
    """One model in a Triton of its own, as it was measured. Units: seconds; `throughput` items a second at
    `concurrency` requests at a time; bytes."""

    latency_p50_s: float
    latency_p95_s: float
    throughput: float
    size_bytes: int
    tokens_per_second: float | None = None
    concurrency: int | None = None
    memory_bytes: int | None = None


class RecipeInfo(Words):
    """What became of a candidate. `metrics`: what was measured of it, beside the baseline."""

    name: str
    status: Literal["applied", "rejected", "skipped"]
    reason: str | None
    metrics: dict[str, float]
    level: str | None = None


class AccuracyInfo(Words):
    """How alike the chosen model and the baseline answer on held-out inputs; `low_evidence`: on fewer than 100."""

    metric: str
    samples: int
    value: float
    low_evidence: bool | None = None
    data: str | None = None


class ArtifactInfo(Words):
    path: str
    size_bytes: int
    sha256: str


class DeploymentInfo(Words):
    """What was done with the new revision where a deployment was asked for; `reason` says why it was not more."""

    deployed: Literal["none", "load", "promote"]
    reason: str | None = None


class OptimizationResults(Words):
    """T-REST-13; null and empty where nothing was measured, or nothing better was found."""

    optimization_id: str
    model_id: str
    optimized_model_id: str | None
    optimization_level: Level
    status: OptimizationState
    performance_metrics: dict[str, float]
    baseline: ServingInfo | None
    optimized: ServingInfo | None
    recipes: list[RecipeInfo]
    chosen_recipe: str | None
    accuracy: AccuracyInfo | None
    artifacts: list[ArtifactInfo]
    environment: dict[str, Any] | None
    created_at: Timestamp
    completed_at: Timestamp | None
    error_message: str | None
    deployment: DeploymentInfo | None = None
    pareto: list[dict[str, Any]] | None = Field(
        default=None, description="where a joint search was made: the candidates that no other one beats in everything"
    )


class CancelResponse(Words):
    success: bool
    optimization_id: str
    status: Literal["cancelled"]
