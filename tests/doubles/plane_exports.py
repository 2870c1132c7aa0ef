"""The exports of the tritonplane in miniature; an export's id names its misbehaviour."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CONTENT = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(CONTENT).hexdigest()
EXPORT: dict[str, Any] = {
    "export_id": "exp_1",
    "file_path": "exports/exp_1/model.onnx",
    "size_bytes": len(CONTENT),
    "sha256": DIGEST,
}


class MiniatureExports:
    """`exp_1` is whole, `exp_bad` is damaged on its way, `exp_cut` breaks half-way, `exp_nameless` has no name."""

    def routes(self) -> list[Route]:
        return [
            Route("/v1/models/{name}/export", self._export, methods=["POST"]),
            Route("/native/v1/models/{name}/exports", self._submit, methods=["POST"]),
            Route("/v1/exports/{id}/download", self._download),
        ]

    async def _export(self, request: Request) -> Response:
        wanted, name = request.query_params["export_format"], request.path_params["name"]
        told = {"model_id": name, "export_format": wanted, "download_url": "/exports/exp_1/download"}
        return JSONResponse({**EXPORT, **told, "created_at": "2026-11-21T12:00:00.000Z"})

    async def _submit(self, request: Request) -> Response:
        """A model named `bad` cannot be exported."""
        return JSONResponse({"job_id": "job_bad" if request.path_params["name"] == "bad" else "job_1"}, 202)

    async def _download(self, request: Request) -> Response:
        export_id = request.path_params["id"]
        if export_id not in ("exp_1", "exp_bad", "exp_cut", "exp_nameless"):
            return JSONResponse({"error": f"no export {export_id!r}", "code": "NOT_FOUND", "details": {}}, 404)
        headers = {"ETag": f'"{DIGEST}"', "Content-Length": str(len(CONTENT))}
        if export_id != "exp_nameless":
            headers["Content-Disposition"] = 'attachment; filename="model.onnx"'
        return StreamingResponse(_sent(export_id), headers=headers)


async def _sent(export_id: str) -> AsyncIterator[bytes]:
    half = len(CONTENT) // 2
    yield CONTENT[:half]
    if export_id == "exp_cut":
        raise ConnectionResetError("cut on purpose")
    yield bytes(half) if export_id == "exp_bad" else CONTENT[half:]
