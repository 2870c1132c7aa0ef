"""The client for asyncio: the same methods as the blocking one, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, Unpack

from tritonplane_client import operations
from tritonplane_client.drawing_calls import AsyncDrawingCalls
from tritonplane_client.export_calls import AsyncExportCalls
from tritonplane_client.job_calls import AsyncJobCalls
from tritonplane_client.operations import Operation
from tritonplane_client.optimization_calls import AsyncOptimizationCalls
from tritonplane_client.packing import ProgressReader, pack
from tritonplane_client.schemas import (
    GenerationReply,
    HealthReply,
    ImportOptions,
    ImportReply,
    InferReply,
    KeyInfo,
    LoadConfig,
    LoadReply,
    MeReply,
    MetricsReply,
    ModelInfo,
    NewKeyReply,
    ProgressCallback,
    RevisionsReply,
    Role,
    SamplingOptions,
    SubmittedReply,
    TensorInput,
    TokenReply,
    UnloadReply,
)
from tritonplane_client.tokens import Token, TokenReader

T = TypeVar("T")


class AsyncApiClient(AsyncJobCalls, AsyncExportCalls, AsyncOptimizationCalls, AsyncDrawingCalls):
    """`ApiClient` for asyncio: every method means what it means there. Use it in an `async with` block."""

    async def health(self) -> HealthReply:
        return await self._call(operations.health())

    async def list_models(
        self, *, skip: int = 0, limit: int = 1000, model_type: str | None = None, status: str | None = None
    ) -> list[ModelInfo]:
        return await self._call(operations.list_models(skip=skip, limit=limit, model_type=model_type, status=status))

    async def get_model(self, model: str) -> ModelInfo:
        return await self._call(operations.get_model(model))

    async def load_model(
        self, model: str, *, idempotency_key: str | None = None, **config: Unpack[LoadConfig]
    ) -> LoadReply:
        return await self._call(operations.load_model(model, config).under(idempotency_key))

    async def unload_model(self, model: str) -> UnloadReply:
        return await self._call(operations.unload_model(model))

    async def purge_model(self, model: str) -> UnloadReply:
        return await self._call(operations.unload_model(model, purge=True))

    async def import_model(
        self,
        name: str,
        path: str | Path,
        progress: ProgressCallback | None = None,
        **options: Unpack[ImportOptions],
    ) -> ImportReply:
        return await self._send(operations.import_model(name, options), path, progress)

    async def import_from_server(
        self, name: str, server_path: str, *, idempotency_key: str | None = None, **options: Unpack[ImportOptions]
    ) -> ImportReply:
        return await self._call(operations.import_model(name, options, server_path).under(idempotency_key))

    async def submit_import(
        self,
        name: str,
        path: str | Path,
        progress: ProgressCallback | None = None,
        **options: Unpack[ImportOptions],
    ) -> SubmittedReply:
        return await self._send(operations.submit_import(name, options), path, progress)

    async def submit_import_from_server(
        self, name: str, server_path: str, *, idempotency_key: str | None = None, **options: Unpack[ImportOptions]
    ) -> SubmittedReply:
        return await self._call(operations.submit_import(name, options, server_path).under(idempotency_key))

    async def revisions(self, model: str) -> RevisionsReply:
        return await self._call(operations.revisions(model))

    async def metrics(
        self, model: str, start: datetime | str | None = None, end: datetime | str | None = None
    ) -> MetricsReply:
        return await self._call(operations.metrics(model, start, end))

    async def generate(self, model: str, prompt: str, **options: Unpack[SamplingOptions]) -> GenerationReply:
        return await self._call(operations.generate(model, prompt, options))

    def stream(self, model: str, prompt: str, **options: Unpack[SamplingOptions]) -> AsyncGenerator[Token, None]:
        """Tokens as they are made; `aclose` it (or use `contextlib.aclosing`) to stop the generation early."""
        return self._frames(operations.stream(model, prompt, options), TokenReader())

    async def infer(
        self,
        model: str,
        inputs: Sequence[TensorInput],
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> InferReply:
        return await self._call(operations.infer(model, inputs, outputs, parameters))

    async def create_key(
        self, name: str, role: Role = "user", *, rate_limit_policy: str | None = None, expires_at: str | None = None
    ) -> NewKeyReply:
        return await self._call(
            operations.create_key(name, role, rate_limit_policy=rate_limit_policy, expires_at=expires_at)
        )

    async def list_keys(self) -> list[KeyInfo]:
        return await self._call(operations.list_keys())

    async def delete_key(self, key_id: str) -> None:
        await self._call(operations.delete_key(key_id))

    async def token(
        self,
        *,
        subject: str | None = None,
        role: Role | None = None,
        expires_in: int | None = None,
        rate_limit_policy: str | None = None,
    ) -> TokenReply:
        return await self._call(
            operations.token(subject=subject, role=role, expires_in=expires_in, rate_limit_policy=rate_limit_policy)
        )

    async def me(self) -> MeReply:
        return await self._call(operations.me())

    async def _send(self, operation: Operation[T], path: str | Path, progress: ProgressCallback | None) -> T:
        with TemporaryDirectory(prefix="tritonplane-") as folder:
            packed = await asyncio.to_thread(pack, Path(path), Path(folder))
            with ProgressReader(packed, progress) as upload:
                return await self._call(operation, {"file": (packed.name, upload)})
