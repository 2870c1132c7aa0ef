"""TruthGPT's exports: a model leaves as a file, and the file is fetched (T-REST-14)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import FileResponse

from control_plane.dialects.truthgpt.mapping import canonical_id
from control_plane.dialects.truthgpt.protocol import ExportModelResponse
from control_plane.domain.exports import Export
from control_plane.domain.limits import LimitClass
from control_plane.domain.references import REFERENCE_PATTERN
from control_plane.edge.http.formats import WantedFormat
from control_plane.edge.http.routing import Manager, Routes, ServicesDep
from control_plane.edge.http.schemas import refusals
from control_plane.services.catalog import Catalog

routes = Routes("Models")
_FILE = {"schema": {"type": "string", "format": "binary"}}


@routes.post(
    "/models/{model_id}/export",
    is_idempotent=True,
    limit=LimitClass.MODEL_MANAGEMENT,
    summary="Export model",
    responses=refusals(404, 409, 501, 504),
)
async def export_model(
    model_id: Annotated[str, Path(json_schema_extra={"pattern": REFERENCE_PATTERN})],
    wanted: WantedFormat,
    caller: Manager,
    services: ServicesDep,
) -> ExportModelResponse:
    """Answers when the export's job is over; the job goes on if the caller leaves.

    `triton` is a zip of the whole model directory, `onnx` the graph (a zip where its weights lie in files beside it),
    `safetensors` the weights (those it was imported from, where it was), `torchscript` a module of a model that came
    from PyTorch or Hugging Face, `tensorrt` an engine for this machine's GPU.
    """
    job = await services.exports.submit(model_id, wanted, caller)
    return _exported(await services.exports.finished(job), services.catalog)


@routes.get(
    "/exports/{export_id}/download",
    summary="Download an export",
    response_class=FileResponse,
    responses={
        200: {"description": "The file; its SHA-256 is the ETag", "content": {"application/octet-stream": _FILE}},
        206: {"description": "The part of the file that Range asks for"},
        416: {"description": "The file has no such part"},
        **refusals(404),
    },
)
async def download_export(export_id: str, caller: Manager, services: ServicesDep) -> FileResponse:
    """An export is kept for 30 days."""
    export, file = await services.exports.file(export_id)
    return FileResponse(
        file,
        media_type="application/octet-stream",
        filename=export.file_name,
        headers={"ETag": f'"{export.sha256}"'},
    )


def _exported(export: Export, catalog: Catalog) -> ExportModelResponse:
    status, record = catalog.status(export.model, export.revision), catalog.get(export.model).record
    return ExportModelResponse(
        model_id=canonical_id(status, record),
        export_id=export.id,
        export_format=export.format,
        file_path=export.file_path,
        size_bytes=export.size_bytes,
        sha256=export.sha256,
        download_url=f"/exports/{export.id}/download",
        created_at=export.created_at,
    )
