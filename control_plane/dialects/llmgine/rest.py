"""LLMgine's health routes (L-HEALTH-02, 03); /health itself is one body for three APIs, in truthgpt."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from fastapi import Request, Response

from control_plane.dialects.llmgine.protocol import LivenessResponse, ReadinessResponse, TritonReadiness
from control_plane.domain.triton import TritonState
from control_plane.edge.http.routing import Dialect, Routes, ServicesDep
from control_plane.services.health import Readiness

routes = Routes("Health")
_NOT_READY = {"description": "Not ready", "model": ReadinessResponse}


@routes.get("/health/ready", is_public=True, summary="Readiness", responses={503: _NOT_READY})
async def ready(services: ServicesDep, response: Response) -> ReadinessResponse:
    """Whether to send requests here: 503 while Triton starts or has crashed, and while the server stops."""
    readiness = services.health.readiness()
    if not readiness.is_ready:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return to_response(readiness)


@routes.get("/health/live", is_public=True, summary="Liveness")
async def live(request: Request) -> LivenessResponse:
    """Whether the process answers; says nothing of Triton."""
    pid = None if request.app.state.http_config.hide_pid else os.getpid()
    return LivenessResponse(status="alive", timestamp=datetime.now(UTC), pid=pid)


def to_response(readiness: Readiness) -> ReadinessResponse:
    triton = TritonReadiness(
        initialized=readiness.triton.state not in (TritonState.STOPPED, TritonState.PREPARE),
        ready=readiness.triton.state in (TritonState.READY, TritonState.DEGRADED),
        loaded_models=readiness.loaded_models,
        state=readiness.triton.state.value,
        repository=readiness.triton.repository,
        reason=readiness.triton.reason,
    )
    return ReadinessResponse(
        status="ready" if readiness.is_ready else "not_ready",
        timestamp=readiness.checked_at,
        services={"triton": triton},
        reason=readiness.reason,
    )


DIALECT = Dialect(name="llmgine", routes=routes)
