"""Our models and health as TruthGPT's documents."""

from __future__ import annotations

from pathlib import Path

from control_plane.dialects.truthgpt.mapping import canonical_id, status_of
from control_plane.dialects.truthgpt.protocol import HealthResponse, ImportModelResponse, ModelInfo
from control_plane.domain.models import ModelRecord, RevisionStatus
from control_plane.services.health import HealthReport

VERSION = "1.0.0"
_SERVICE = "llmgine-api"  # LLMgine documents this path at the root; D-02
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


def source_format(source: Path) -> str:
    return "onnx" if source.suffix == ".onnx" else "triton"


def imported(status: RevisionStatus, record: ModelRecord, source_format: str) -> ImportModelResponse:
    revision = status.revision
    return ImportModelResponse(
        model_id=canonical_id(status, record),
        success=True,
        format=source_format,
        size_bytes=revision.size_bytes,
        sha256=revision.digest.removeprefix("sha256:"),
        revision=revision.number,
        state=status.state.value,
    )


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
