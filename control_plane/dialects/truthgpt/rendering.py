"""Our models and health as TruthGPT's documents."""

from __future__ import annotations

from control_plane.dialects.truthgpt.mapping import canonical_id, status_of
from control_plane.dialects.truthgpt.protocol import (
    HealthResponse,
    ImportModelResponse,
    InferenceMetrics,
    ModelInfo,
    ModelMetricsResponse,
    TritonStatistics,
)
from control_plane.domain.models import ModelRecord, RevisionStatus
from control_plane.services.health import HealthReport
from control_plane.services.monitoring import ModelMetrics

VERSION = "1.0.0"
_SERVICE = "llmgine-api"  # LLMgine documents this path at the root; D-02
_WHY_UNMEASURED = {
    "tokens_per_second": "no tokens were generated in this period",
    "avg_queue_time": "Triton has not told of its queue in this period",
}
_ALIASES = ["web-api"]  # what the orchestrator calls the same server


def model_info(status: RevisionStatus, record: ModelRecord) -> ModelInfo:
    revision, description = status.revision, status.revision.description
    return ModelInfo(
        model_id=canonical_id(status, record),
        name=revision.model,
        type=description.kind,
        parameters=description.parameters,
        size_bytes=revision.size_bytes,
        device=revision.device,
        dtype=description.dtype,
        status=status_of(status.state),
        created_at=record.created_at,
        updated_at=record.updated_at,
        state=status.state.value,
        version=revision.number,
        backend=revision.backend,
        last_error=status.last_error,
        memory_bytes=status.memory_bytes,
        internal=description.is_internal,
    )


def imported(status: RevisionStatus, record: ModelRecord, source_format: str) -> ImportModelResponse:
    revision = status.revision
    return ImportModelResponse(
        model_id=canonical_id(status, record),
        success=True,
        format=source_format,
        size_bytes=revision.size_bytes,
        sha256=revision.digest,
        revision=revision.number,
        state=status.state.value,
    )


def model_metrics(found: ModelMetrics) -> ModelMetricsResponse:
    numbers = _numbers(found)
    unmeasured = [name for name, value in numbers if value is None]
    reasons = {name: found.reasons.get(name) or _why_unmeasured(name, found.work.count) for name in unmeasured}
    if found.triton is None:
        reasons["triton"] = found.reasons["triton"]
    return ModelMetricsResponse(
        model_id=found.model_id,
        start_time=found.period.start,
        end_time=found.period.end,
        metrics=numbers,
        triton=None if found.triton is None else TritonStatistics.model_validate(found.triton, from_attributes=True),
        reasons=reasons,
    )


def _numbers(found: ModelMetrics) -> InferenceMetrics:
    work = found.work
    return InferenceMetrics(
        inference_count=work.count,
        success_count=work.successes,
        error_count=work.failures,
        success_rate=work.success_rate,
        error_rate=work.error_rate,
        avg_inference_time=work.average_s,
        p50_inference_time=work.percentile_s(50),
        p95_inference_time=work.percentile_s(95),
        p99_inference_time=work.percentile_s(99),
        tokens_generated=work.tokens,
        tokens_per_second=work.tokens_per_s,
        avg_queue_time=work.average_queue_s,
        memory_usage_bytes=found.memory_bytes,
        gpu_utilization=found.gpu_percent,
        cache_hit_rate=None,
    )


def _why_unmeasured(name: str, count: int) -> str:
    if name == "cache_hit_rate":
        return "answers are not cached"
    if not count:
        return "no inference ended in this period"
    return _WHY_UNMEASURED.get(name, "no inference succeeded in this period")


def overall_health(report: HealthReport) -> HealthResponse:
    return HealthResponse(
        status=report.status.value,
        timestamp=report.checked_at,
        version=VERSION,
        uptime=round(report.uptime_s, 3),
        services={name: health.value for name, health in report.services.items()},
        service=_SERVICE,
        aliases=_ALIASES,
    )
