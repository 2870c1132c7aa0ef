"""grpc.health.v1: whether to send calls here, for load balancers and orchestrators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import suppress
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.domain.errors import NotFound
from control_plane.services.health import HealthService

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
EVERYTHING = ""  # the service name that means the server as a whole
WATCH_S = 1.0  # Triton does not say when it changes, so a watcher looks this often
_Status = health_pb2.HealthCheckResponse  # generated without types, so it cannot stand in an annotation


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Every service is SERVING exactly while the server is ready. `stopping` ends the watches."""

    def __init__(self, health: HealthService, services: Collection[str], stopping: asyncio.Event) -> None:
        self._health, self._known, self._stopping = health, {EVERYTHING, *services}, stopping

    async def Check(self, request: Any, context: object) -> Any:
        if request.service not in self._known:
            raise NotFound(f"no service named {request.service[:200]!r}", services=sorted(self._known))
        return _Status(status=self._status(request.service))

    async def Watch(self, request: Any, context: object) -> AsyncGenerator[Any, None]:
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                yield _Status(status=status)
                told = status
            if self._stopping.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), WATCH_S)

    def _status(self, service: str) -> int:
        if service not in self._known:
            return int(_Status.SERVICE_UNKNOWN)
        is_ready = self._health.readiness().is_ready and not self._stopping.is_set()
        return int(_Status.SERVING if is_ready else _Status.NOT_SERVING)
