"""TruthGPT's comfortable routes: models and health (T-REST-01..05, 10, 14, 15), exports and optimizations."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from control_plane.dialects.truthgpt import exports, optimizations, socket_inference, websocket
from control_plane.dialects.truthgpt.inference import lean_routes
from control_plane.dialects.truthgpt.mapping import Loading, canonical_id, to_filter, to_loading, to_time
from control_plane.dialects.truthgpt.protocol import (
    HealthResponse,
    ImportModelResponse,
    LoadModelRequest,
    LoadModelResponse,
    ModelInfo,
    ModelMetricsResponse,
    Status,
    UnloadModelResponse,
)
from control_plane.dialects.truthgpt.rendering import imported, model_info, model_metrics, overall_health
from control_plane.domain.errors import Unavailable
from control_plane.domain.limits import LimitClass
from control_plane.domain.models import ModelFilter, ModelKind
from control_plane.domain.paging import LIMIT_MAX, Page
from control_plane.domain.references import NAME_PATTERN, REFERENCE_PATTERN
from control_plane.domain.rollups import Period
from control_plane.edge.http.routing import Dialect, Document, Manager, Routes, ServicesDep, Viewer
from control_plane.edge.http.schemas import refusals
from control_plane.edge.http.uploads import UPLOAD_BODY, FilePath, Options, received_import
from control_plane.services.health import ServiceHealth

routes = Routes("Models")
Reference = Annotated[str, Path(json_schema_extra={"pattern": REFERENCE_PATTERN})]
Time = Annotated[str | None, Query(json_schema_extra={"format": "date-time"})]


@routes.get("/health", is_public=True, tags=["Health"], summary="Health check")
async def health_check(services: ServicesDep) -> HealthResponse:
    report = await services.health.report()
    health = overall_health(report)
    if report.status is ServiceHealth.UNHEALTHY:
        raise Unavailable("the server is not healthy", services=health.services, retry_after_seconds=2)
    return health


def parsed_page(
    skip: Annotated[int, Query(json_schema_extra={"minimum": 0})] = 0,
    limit: Annotated[int, Query(json_schema_extra={"minimum": 1, "maximum": LIMIT_MAX})] = 100,
) -> Page:
    return Page(limit, skip)


def parsed_filter(
    model_type: ModelKind | None = None,
    status: Status | None = None,
    internal: Annotated[bool, Query(description="also parts of pipelines and the probe")] = False,
) -> ModelFilter:
    return to_filter(model_type, status, with_internal=internal)


@routes.get("/models", limit=LimitClass.MODEL_READS, summary="List models")
async def list_models(
    wanted: Annotated[ModelFilter, Depends(parsed_filter)],
    page: Annotated[Page, Depends(parsed_page)],
    response: Response,
    caller: Viewer,
    services: ServicesDep,
) -> list[ModelInfo]:
    """All models of the repository, loaded or not, oldest first; `X-Total-Count` counts all that match."""
    models = services.catalog.list(wanted, page)
    response.headers["X-Total-Count"] = str(models.total)
    return [model_info(model.stable, model.record) for model in models.items]


def parsed_loading(body: LoadModelRequest) -> Loading:
    return to_loading(body.model_name, body.model_type, body.config)


@routes.post(
    "/models",
    is_idempotent=True,
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Load model",
    responses=refusals(404, 501, 504),
)
async def load_model(
    wanted: Annotated[Loading, Depends(parsed_loading)], caller: Manager, services: ServicesDep
) -> LoadModelResponse:
    """Answers once the model answers a probe. A config that differs from the revision's makes a new revision."""
    wanted.check_kind(services.catalog.resolve(wanted.reference).revision.description.kind)
    status = await services.models.load(wanted.reference, wanted.options, caller)
    record = services.catalog.get(status.revision.model).record
    return LoadModelResponse(model_id=canonical_id(status, record), success=True)


@routes.get(
    "/models/{model_id}", limit=LimitClass.MODEL_READS, summary="Get model information", responses=refusals(404)
)
async def get_model(model_id: Reference, caller: Viewer, services: ServicesDep) -> ModelInfo:
    status = services.catalog.resolve(model_id)
    return model_info(status, services.catalog.get(status.revision.model).record)


@routes.delete(
    "/models/{model_id}",
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Unload model",
    responses=refusals(404, 409, 501, 504),
)
async def unload_model(
    model_id: Reference,
    caller: Manager,
    services: ServicesDep,
    purge: Annotated[bool, Query(description="also delete the model's files")] = False,
) -> UnloadModelResponse:
    """Requests in flight finish first. The model stays in the repository unless `purge` is true."""
    if purge:
        await services.models.purge(model_id)
    else:
        await services.models.unload(model_id)
    return UnloadModelResponse(success=True)


def parsed_period(services: ServicesDep, start_time: Time = None, end_time: Time = None) -> Period:
    return services.monitoring.period(to_time("start_time", start_time), to_time("end_time", end_time))


@routes.get(
    "/models/{model_id}/metrics", limit=LimitClass.MODEL_READS, summary="Get model metrics", responses=refusals(404)
)
async def get_model_metrics(
    model_id: Reference, wanted: Annotated[Period, Depends(parsed_period)], caller: Viewer, services: ServicesDep
) -> ModelMetricsResponse:
    """What a model did from `start_time` to `end_time` (by default the last 24 hours), and its size now.

    A bare name counts all revisions of the model; `name:N` and `name@alias` that one. Times have a resolution of 1
    second within the last hour and of 1 minute before it; what is older than 7 days is forgotten.
    """
    return model_metrics(await services.monitoring.metrics(model_id, wanted))


@routes.post(
    "/models/{model_id}/import",
    is_idempotent=True,
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Import model",
    takes_upload=True,
    openapi_extra={"requestBody": UPLOAD_BODY},
    responses=refusals(409, 501, 504),
)
async def import_model(
    model_id: Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})],
    request: Request,
    caller: Manager,
    services: ServicesDep,
    options: Options,
    file_path: FilePath = None,
) -> ImportModelResponse:
    """A model on the server, or uploaded as `file`: ONNX, a Triton model directory, a Hugging Face directory (both also
    as a zip), or a torch file. Answers when the import's job is over; the job goes on if the caller leaves."""
    wanted = await received_import(request, services.imports, model_id, file_path, options)
    revision, result = await services.imports.finished(await services.imports.submit(wanted, caller))
    status = services.catalog.status(revision.model, revision.number)
    return imported(status, services.catalog.get(revision.model).record, str(result["format"]))


routes.declared += [*exports.routes.declared, *optimizations.routes.declared]
routes.sockets += [*websocket.routes.sockets, *socket_inference.routes.sockets]
DIALECT = Dialect(
    name="truthgpt",
    routes=routes,
    lean=lean_routes,
    mounts=("", "/v1"),
    document=Document("/v1/openapi.json", "/v1", "TruthGPT Optimization API", "1.0.0"),
)
