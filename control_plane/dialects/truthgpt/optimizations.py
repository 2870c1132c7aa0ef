"""TruthGPT's optimizations: asked for, listed, explained, cancelled (T-REST-06, 07, 12, 13, 21, 22)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Response
from starlette.responses import FileResponse

from control_plane.dialects.truthgpt.optimization_mapping import (
    Optimizing,
    optimization_response,
    optimization_results,
    optimization_status,
    to_job_filter,
    to_optimizing,
)
from control_plane.dialects.truthgpt.optimization_protocol import (
    CancelResponse,
    OptimizationRequest,
    OptimizationResponse,
    OptimizationResults,
    OptimizationState,
    OptimizationStatus,
)
from control_plane.domain.access import Principal
from control_plane.domain.limits import LimitClass
from control_plane.domain.optimization import Level
from control_plane.domain.paging import LIMIT_MAX, Page
from control_plane.edge.http.routing import Manager, Routes, ServicesDep, Viewer
from control_plane.edge.http.schemas import refusals
from control_plane.services.registry import Services

routes = Routes("Optimization")


def parsed_optimizing(body: OptimizationRequest) -> Optimizing:
    return to_optimizing(body.model_id, body.optimization_level, body.parameters)


@routes.post(
    "/optimize",
    is_idempotent=True,
    limit=LimitClass.OPTIMIZATION,
    summary="Optimize model",
    responses=refusals(404, 501),
)
async def optimize_model(
    wanted: Annotated[Optimizing, Depends(parsed_optimizing)], caller: Manager, services: ServicesDep
) -> OptimizationResponse:
    """Answers at once; the work is a job. What it finds better becomes a new revision, and with `deploy` is served."""
    job = await services.optimizations.submit(wanted.reference, wanted.options, wanted.ignored, caller)
    return optimization_response(job)


@routes.get("/optimize/{optimization_id}", summary="Get optimization status", responses=refusals(404))
async def get_optimization(optimization_id: str, caller: Viewer, services: ServicesDep) -> OptimizationStatus:
    return optimization_status(await services.optimizations.get(optimization_id))


@routes.delete("/optimize/{optimization_id}", summary="Cancel optimization", responses=refusals(404, 409))
async def cancel_optimization(optimization_id: str, caller: Manager, services: ServicesDep) -> CancelResponse:
    """For who asked for it and for admins. Answers when its work has ended and nothing of it is left."""
    return await _cancelled(optimization_id, caller, services)


@routes.post("/optimize/{optimization_id}/cancel", summary="Cancel optimization", responses=refusals(404, 409))
async def post_cancel(optimization_id: str, caller: Manager, services: ServicesDep) -> CancelResponse:
    """The same as DELETE, for clients that have only POST."""
    return await _cancelled(optimization_id, caller, services)


@routes.get(
    "/optimize/{optimization_id}/evidence",
    summary="Get all that was measured",
    response_class=FileResponse,
    responses={
        200: {"description": "Every candidate with its raw samples", "content": {"application/json": {"schema": {}}}},
        **refusals(404),
    },
)
async def get_evidence(optimization_id: str, caller: Viewer, services: ServicesDep) -> FileResponse:
    """There is none before an optimization is over. It is kept for 30 days, and with the revision it made."""
    return FileResponse(await services.optimizations.evidence(optimization_id), media_type="application/json")


def parsed_page(
    skip: Annotated[int, Query(json_schema_extra={"minimum": 0})] = 0,
    limit: Annotated[int, Query(json_schema_extra={"minimum": 1, "maximum": LIMIT_MAX})] = 100,
) -> Page:
    return Page(limit, skip)


@routes.get("/optimizations", summary="List optimizations")
async def list_optimizations(
    page: Annotated[Page, Depends(parsed_page)],
    response: Response,
    caller: Viewer,
    services: ServicesDep,
    status: OptimizationState | None = None,
    optimization_level: Level | None = None,
) -> list[OptimizationStatus]:
    """Newest first; `X-Total-Count` counts all that match. One is kept for 30 days after its end."""
    jobs = await services.optimizations.list(to_job_filter(status), page, optimization_level)
    response.headers["X-Total-Count"] = str(jobs.total)
    return [optimization_status(job) for job in jobs.items]


@routes.get(
    "/optimizations/{optimization_id}/results",
    summary="Get optimization results",
    responses={202: {"description": "It is not over yet", "model": OptimizationStatus}, **refusals(404)},
)
async def get_results(
    optimization_id: str, response: Response, caller: Viewer, services: ServicesDep
) -> OptimizationResults | OptimizationStatus:
    """What was tried, what was measured, and which won; a baseline that wins is an honest result, and no error."""
    job = await services.optimizations.get(optimization_id)
    if job.state.is_terminal:
        return optimization_results(job)
    response.status_code = 202
    return optimization_status(job)


async def _cancelled(optimization_id: str, caller: Principal, services: Services) -> CancelResponse:
    job = await services.optimizations.cancel(optimization_id, caller)
    return CancelResponse(success=True, optimization_id=job.id, status="cancelled")
