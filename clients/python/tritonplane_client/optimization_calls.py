"""Optimizations, for both clients."""

from __future__ import annotations

from typing import Unpack

from tritonplane_client import operations
from tritonplane_client.caller import AsyncCaller, Caller
from tritonplane_client.optimization_schemas import (
    CancelReply,
    CatalogReply,
    Evidence,
    Level,
    OptimizationParameters,
    OptimizationResults,
    OptimizationStatus,
    OptimizeReply,
)


class OptimizationCalls(Caller):
    """What `ApiClient` does with optimizations. Each is a job: `watch_job`, `wait_job` and `job_log` take its id."""

    def optimize(
        self,
        model: str,
        level: Level | str = "master",
        *,
        idempotency_key: str | None = None,
        **parameters: Unpack[OptimizationParameters],
    ) -> OptimizeReply:
        """Look for a faster or smaller form of a model; returns at once.

        Raises: BadRequestError for an unknown level or parameter, NotFoundError, PermissionDeniedError.
        """
        return self._call(operations.optimize(model, level, parameters).under(idempotency_key))

    def optimization(self, optimization_id: str) -> OptimizationStatus:
        return self._call(operations.optimization(optimization_id))

    def optimizations(
        self, *, level: Level | str | None = None, status: str | None = None, skip: int = 0, limit: int = 100
    ) -> list[OptimizationStatus]:
        """Newest first. `status`: running, completed, failed or cancelled."""
        return self._call(operations.optimizations(level=level, status=status, skip=skip, limit=limit))

    def optimization_results(self, optimization_id: str) -> OptimizationResults | OptimizationStatus:
        """What was tried and what won; before the end the status, which has no `recipes`."""
        return self._call(operations.optimization_results(optimization_id))

    def cancel_optimization(self, optimization_id: str) -> CancelReply:
        """Returns when nothing of its work is left. Raises ConflictError where it has ended otherwise."""
        return self._call(operations.cancel_optimization(optimization_id))

    def optimization_evidence(self, optimization_id: str) -> Evidence:
        """Every candidate with its raw samples. Raises NotFoundError also before the end."""
        return self._call(operations.optimization_evidence(optimization_id))

    def catalog(self) -> CatalogReply:
        """Levels and recipes, and why those that cannot run on the server's machine cannot."""
        return self._call(operations.catalog())


class AsyncOptimizationCalls(AsyncCaller):
    """What `AsyncApiClient` does with optimizations."""

    async def optimize(
        self,
        model: str,
        level: Level | str = "master",
        *,
        idempotency_key: str | None = None,
        **parameters: Unpack[OptimizationParameters],
    ) -> OptimizeReply:
        return await self._call(operations.optimize(model, level, parameters).under(idempotency_key))

    async def optimization(self, optimization_id: str) -> OptimizationStatus:
        return await self._call(operations.optimization(optimization_id))

    async def optimizations(
        self, *, level: Level | str | None = None, status: str | None = None, skip: int = 0, limit: int = 100
    ) -> list[OptimizationStatus]:
        return await self._call(operations.optimizations(level=level, status=status, skip=skip, limit=limit))

    async def optimization_results(self, optimization_id: str) -> OptimizationResults | OptimizationStatus:
        return await self._call(operations.optimization_results(optimization_id))

    async def cancel_optimization(self, optimization_id: str) -> CancelReply:
        return await self._call(operations.cancel_optimization(optimization_id))

    async def optimization_evidence(self, optimization_id: str) -> Evidence:
        return await self._call(operations.optimization_evidence(optimization_id))

    async def catalog(self) -> CatalogReply:
        return await self._call(operations.catalog())
