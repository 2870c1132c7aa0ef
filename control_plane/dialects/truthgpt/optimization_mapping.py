"""What TruthGPT's words on optimizations mean, and how a job is said in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.dialects.truthgpt.optimization_protocol import (
    OptimizationResponse,
    OptimizationResults,
    OptimizationState,
    OptimizationStatus,
)
from control_plane.domain.jobs import Job, JobFilter, JobState
from control_plane.domain.optimization import Level, OptimizationOptions
from control_plane.domain.optimization_options import parse_options
from control_plane.domain.references import parse_reference

# TruthGPT has no `queued`: what waits is as good as running (contract 0.3).
STATES: Mapping[JobState, OptimizationState] = {
    JobState.QUEUED: "running",
    JobState.RUNNING: "running",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_RESULT = (
    "baseline",
    "optimized",
    "chosen_recipe",
    "accuracy",
    "environment",
    "pareto",
    "deployment",
)  # null where there is none
_LISTS = ("recipes", "artifacts")


@dataclass(frozen=True, slots=True)
class Optimizing:
    """What an OptimizationRequest asks for. `ignored`: parameters that change nothing."""

    reference: str
    options: OptimizationOptions
    ignored: tuple[str, ...]


def to_optimizing(model_id: str, level: str, parameters: Mapping[str, object]) -> Optimizing:
    """Raises: InvalidRequest, naming what is unknown or wrong; Unsupported."""
    reference = str(parse_reference(model_id))
    return Optimizing(reference, *parse_options(level, parameters))


def to_job_filter(status: OptimizationState | None) -> JobFilter:
    return JobFilter(states=frozenset(state for state, word in STATES.items() if word == status))


def optimization_response(job: Job) -> OptimizationResponse:
    ignored = job.parameters["ignored_parameters"]
    return OptimizationResponse.model_validate(
        {"optimization_id": job.id, "success": True, "ignored_parameters": ignored}
    )


def metrics_of(job: Job) -> dict[str, float]:
    """Empty until something is measured."""
    metrics: dict[str, float] = _result(job).get("performance_metrics", {})
    return metrics


def error_of(job: Job) -> str | None:
    return None if job.failure is None else job.failure.message


def optimization_status(job: Job) -> OptimizationStatus:
    return OptimizationStatus(
        optimization_id=job.id,
        status=STATES[job.state],
        progress=job.progress,
        performance_metrics=metrics_of(job),
        error_message=error_of(job),
        state=job.state.value,
        model_id=job.model,
        optimization_level=Level(str(job.parameters["level"])),
        optimized_model_id=_result(job).get("optimized_model_id"),
        current_step=job.step,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.finished_at,
    )


def optimization_results(job: Job) -> OptimizationResults:
    """Of a job that is over; one that did not complete has measured nothing that would be kept."""
    result = _result(job)
    return OptimizationResults.model_validate(
        {
            "optimization_id": job.id,
            "model_id": job.model,
            "optimized_model_id": result.get("optimized_model_id"),
            "optimization_level": job.parameters["level"],
            "status": STATES[job.state],
            "performance_metrics": metrics_of(job),
            **{name: result.get(name) for name in _RESULT},
            **{name: result.get(name, []) for name in _LISTS},
            "created_at": job.created_at,
            "completed_at": job.finished_at,
            "error_message": error_of(job),
        }
    )


def _result(job: Job) -> dict[str, Any]:
    return job.result or {}
