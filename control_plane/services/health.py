"""Whether the server as a whole is well, from what each part says of itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from control_plane.domain.errors import DomainError
from control_plane.domain.models import ModelFilter, ModelState
from control_plane.domain.paging import LIMIT_MAX, Page
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.ports import Clock, Database, TritonServer
from control_plane.services.catalog import Catalog

_LOADED = frozenset(state for state in ModelState if state.serves)


class ServiceHealth(StrEnum):
    """The words of the health documents for each part of the server."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    NOT_CONFIGURED = "not_configured"
    NOT_PRESENT = "not_present"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`status` is HEALTHY, DEGRADED, or UNHEALTHY when nothing can be served. Units: `uptime_s` since start."""

    status: ServiceHealth
    services: dict[str, ServiceHealth]
    checked_at: datetime
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether to send traffic here. `reason` says why not."""

    is_ready: bool
    triton: TritonStatus
    loaded_models: int
    checked_at: datetime
    reason: str | None = None


class HealthService:
    """The flag `grpc_serves` and the event `stopping` are set by the entry point."""

    def __init__(
        self, server: TritonServer, database: Database, catalog: Catalog, clock: Clock, *, has_gpu: bool
    ) -> None:
        self._server, self._database, self._catalog, self._clock = server, database, catalog, clock
        self._has_gpu, self._started_s = has_gpu, clock.seconds()
        self.grpc_serves = False
        self.stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        return self.stopping.is_set()

    @property
    def started_at(self) -> datetime:
        return datetime.fromtimestamp(self._started_s, UTC)

    def uptime_s(self) -> float:
        return self._clock.seconds() - self._started_s

    async def report(self) -> HealthReport:
        """Asks every part now."""
        services = {
            "database": await self._database_health(),
            "redis": ServiceHealth.NOT_CONFIGURED,
            "gpu": ServiceHealth.HEALTHY if self._has_gpu else ServiceHealth.NOT_PRESENT,
            "triton": self._triton_health(),
            "grpc": ServiceHealth.HEALTHY if self.grpc_serves else ServiceHealth.UNHEALTHY,
        }
        return HealthReport(_overall(services), services, self._clock.now(), self.uptime_s())

    def readiness(self) -> Readiness:
        status = self._server.status()
        loaded = self._catalog.list(ModelFilter(states=_LOADED), Page(limit=LIMIT_MAX)).total
        reason = "the server is stopping" if self.is_stopping else None
        if reason is None and status.state not in (TritonState.READY, TritonState.DEGRADED):
            reason = f"Triton is {status.state.value}"
        return Readiness(reason is None, status, loaded, self._clock.now(), reason)

    async def _database_health(self) -> ServiceHealth:
        try:
            await self._database.check()
        except DomainError:
            return ServiceHealth.UNHEALTHY
        return ServiceHealth.HEALTHY

    def _triton_health(self) -> ServiceHealth:
        state = self._server.status().state
        if state is TritonState.READY:
            return ServiceHealth.HEALTHY
        return ServiceHealth.DEGRADED if state.serves else ServiceHealth.UNHEALTHY


def _overall(services: dict[str, ServiceHealth]) -> ServiceHealth:
    if ServiceHealth.UNHEALTHY in (services["triton"], services["database"]):
        return ServiceHealth.UNHEALTHY
    if any(health in (ServiceHealth.DEGRADED, ServiceHealth.UNHEALTHY) for health in services.values()):
        return ServiceHealth.DEGRADED
    return ServiceHealth.HEALTHY
