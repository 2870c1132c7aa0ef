"""Revisions of a model, load and unload (X-LIFE-01, 02, 06)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from control_plane.dialects.native.protocol import (
    ChangeBody,
    ChangedSettings,
    HealthInfo,
    LoadBody,
    LoadedResponse,
    RevisionInfo,
    RevisionsResponse,
    SubmittedResponse,
)
from control_plane.domain.limits import LimitClass
from control_plane.domain.models import Health, LoadOptions, RevisionStatus
from control_plane.domain.references import NAME_PATTERN, REFERENCE_PATTERN
from control_plane.edge.http.formats import WantedFormat
from control_plane.edge.http.routing import Manager, Routes, ServicesDep, Viewer
from control_plane.edge.http.schemas import refusals
from control_plane.edge.http.uploads import UPLOAD_BODY, FilePath, Options, received_import

routes = Routes("Models")
Name = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME_PATTERN}$"})]
Reference = Annotated[str, Path(json_schema_extra={"pattern": REFERENCE_PATTERN})]

_CHANGE = {"type": "object", "required": ["config"], "properties": {"config": ChangedSettings.model_json_schema()}}
_REVISION_BODY = {"content": {**UPLOAD_BODY["content"], "application/json": {"schema": _CHANGE}}}


@routes.get(
    "/native/v1/models/{name}/revisions",
    summary="List a model's revisions",
    responses=refusals(404),
)
async def list_revisions(name: Name, caller: Viewer, services: ServicesDep) -> RevisionsResponse:
    model = services.catalog.get(name)
    revisions = [revision_info(status) for status in model.revisions]
    return RevisionsResponse(model=model.name, aliases=model.record.aliases, revisions=revisions)


@routes.post(
    "/native/v1/models/{name}/revisions",
    is_idempotent=True,
    status_code=202,
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Make a revision",
    takes_upload=True,
    openapi_extra={"requestBody": _REVISION_BODY},
    responses=refusals(404, 501),
)
async def make_revision(
    name: Reference,
    request: Request,
    caller: Manager,
    services: ServicesDep,
    options: Options,
    file_path: FilePath = None,
) -> SubmittedResponse:
    """Import a model as a job: uploaded as `file`, or on the server at `file_path`. Or, with a JSON body, change the
    configuration of the revision that `name` refers to: a new revision of the same files. Nothing is loaded."""
    if request.headers.get("content-type", "").startswith("application/json"):
        change = parse_change(await request.body())
        job = await services.imports.submit_change(name, change, caller)
    else:
        wanted = await received_import(request, services.imports, name, file_path, options)
        job = await services.imports.submit(wanted, caller)
    return SubmittedResponse(job_id=job.id)


@routes.post(
    "/native/v1/models/{name}/exports",
    is_idempotent=True,
    status_code=202,
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Export a model",
    responses=refusals(404, 501),
)
async def make_export(
    name: Reference, wanted: WantedFormat, caller: Manager, services: ServicesDep
) -> SubmittedResponse:
    """As a job, whose result holds the `export_id` to download at /exports/{export_id}/download."""
    job = await services.exports.submit(name, wanted, caller)
    return SubmittedResponse(job_id=job.id)


@routes.post(
    "/native/v1/models/{name}/load",
    is_idempotent=True,
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Load a model",
    responses=refusals(404, 501, 504),
)
async def load(name: Reference, caller: Manager, services: ServicesDep, body: LoadBody | None = None) -> LoadedResponse:
    """`name` is a reference. Answers once the revision answers a probe."""
    return loaded(await services.models.load(name, to_options(body or LoadBody()), caller))


@routes.post(
    "/native/v1/models/{name}/unload",
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Unload a model",
    responses=refusals(404, 501, 504),
)
async def unload(name: Reference, caller: Manager, services: ServicesDep) -> LoadedResponse:
    """`name` is a reference. Requests in flight finish first."""
    return loaded(await services.models.unload(name))


def parse_change(body: bytes) -> LoadOptions:
    """Raises InvalidRequest naming each thing that is wrong."""
    try:
        asked = ChangeBody.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error
    return LoadOptions(
        instance_count=asked.config.instance_count,
        max_batch_size=asked.config.max_batch_size,
        queue_delay_us=asked.config.dynamic_batching_delay_us,
    )


def to_options(body: LoadBody) -> LoadOptions:
    return LoadOptions(
        timeout_s=body.timeout_seconds,
        instance_count=body.instance_count,
        max_batch_size=body.max_batch_size,
        queue_delay_us=body.dynamic_batching_delay_us,
    )


def loaded(status: RevisionStatus) -> LoadedResponse:
    revision = status.revision
    return LoadedResponse(
        model=revision.model, revision=revision.number, state=status.state, health=health_info(status.health)
    )


def revision_info(status: RevisionStatus) -> RevisionInfo:
    revision = status.revision
    return RevisionInfo(
        revision=revision.number,
        state=status.state,
        health=health_info(status.health),
        source=revision.source,
        digest=revision.digest,
        backend=revision.backend,
        precision=revision.description.dtype,
        labels=revision.description.labels,
        size_bytes=revision.size_bytes,
        memory_bytes=status.memory_bytes,
        created_at=revision.created_at,
        created_by=revision.created_by,
        conversion=revision.conversion,
        evidence=any(artifact.path == "evidence.json" for artifact in revision.artifacts),
        last_error=status.last_error,
    )


def health_info(health: Health) -> HealthInfo:
    return HealthInfo(status=health.status, since=health.since, reason=health.reason)
