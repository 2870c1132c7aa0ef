"""Models that leave the server, for both clients."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing
from pathlib import Path

import httpx

from tritonplane_client import operations
from tritonplane_client.caller import AsyncCaller, Caller
from tritonplane_client.downloads import Download
from tritonplane_client.schemas import ExportReply, ProgressCallback, SubmittedReply


class ExportCalls(Caller):
    """What `ApiClient` does with exports."""

    def export_model(
        self, model: str, export_format: str = "onnx", *, idempotency_key: str | None = None
    ) -> ExportReply:
        """Wait until the model is there to be downloaded as onnx, safetensors, torchscript, triton or tensorrt.

        Raises: BadRequestError naming the formats that it has, UnsupportedError where tensorrt lacks its GPU.
        """
        return self._call(operations.export_model(model, export_format).under(idempotency_key))

    def submit_export(
        self, model: str, export_format: str = "onnx", *, idempotency_key: str | None = None
    ) -> SubmittedReply:
        """The job of an export; its result holds the `export_id`."""
        return self._call(operations.submit_export(model, export_format).under(idempotency_key))

    def download_export(self, export_id: str, to: str | Path, progress: ProgressCallback | None = None) -> Path:
        """Fetch the file of an export into a file or folder; where it is. Its SHA-256 is compared with the server's.

        Raises: NotFoundError, also 30 days after the export; ConnectionLost, UnexpectedAnswer, and nothing remains.
        """
        with (
            closing(self._open(operations.download_export(export_id))) as response,
            Download(Path(to), response.headers, progress) as download,
        ):
            try:
                for chunk in response.iter_bytes():
                    download.write(chunk)
            except httpx.RequestError as error:
                raise self._connection.explain(error) from error
            return download.finish()


class AsyncExportCalls(AsyncCaller):
    """What `AsyncApiClient` does with exports."""

    async def export_model(
        self, model: str, export_format: str = "onnx", *, idempotency_key: str | None = None
    ) -> ExportReply:
        return await self._call(operations.export_model(model, export_format).under(idempotency_key))

    async def submit_export(
        self, model: str, export_format: str = "onnx", *, idempotency_key: str | None = None
    ) -> SubmittedReply:
        return await self._call(operations.submit_export(model, export_format).under(idempotency_key))

    async def download_export(self, export_id: str, to: str | Path, progress: ProgressCallback | None = None) -> Path:
        async with aclosing(await self._open(operations.download_export(export_id))) as response:
            with Download(Path(to), response.headers, progress) as download:
                try:
                    async for chunk in response.aiter_bytes():
                        await asyncio.to_thread(download.write, chunk)
                except httpx.RequestError as error:
                    raise self._connection.explain(error) from error
                return await asyncio.to_thread(download.finish)
