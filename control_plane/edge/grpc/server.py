"""The gRPC server: one port for all APIs, with health and reflection beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control_plane.domain.access import Role
from control_plane.domain.limits import LimitClass
from control_plane.edge.access_log import Lines
from control_plane.edge.grpc import health
from control_plane.edge.grpc.access_log import CallLog
from control_plane.edge.grpc.interceptor import Doorkeeper, Rules
from control_plane.edge.quotas import Quotas
from control_plane.edge.tls import Tls
from control_plane.services.registry import Services

MESSAGE_BYTES_MAX = 64 * 1024 * 1024  # contract 1.2, PAYLOAD_TOO_LARGE


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """Where to listen. Port 0 takes a free one. Without `tls` the wire is plain text."""

    host: str
    port: int
    tls: Tls | None = None
    message_bytes_max: int = MESSAGE_BYTES_MAX
    access_log: Lines | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """A service that a dialect offers: `roles` says for each method the least role; None opens it to everybody.

    `limits`: the quota that a method's calls count in, where that is not the default class.
    """

    name: str
    roles: Mapping[str, Role | None]
    add_to: Callable[[grpc.aio.Server], None]
    limits: Mapping[str, LimitClass] = field(default_factory=dict)


class GrpcServer:
    """Serves from `start` to `stop`, and tells the health service so. Made inside the event loop that serves."""

    def __init__(self, services: Services, config: GrpcConfig, apis: Sequence[Api], quotas: Quotas) -> None:
        self._config, self._health = config, services.health
        self._stopping, self.port = asyncio.Event(), config.port
        names, rules = [api.name for api in apis], Rules(_roles(apis), _limits(apis))
        logs = [] if config.access_log is None else [CallLog(config.access_log)]
        self._server = grpc.aio.server(
            interceptors=[*logs, Doorkeeper(services.access, services.health, quotas, rules, services.audit)],
            options=[
                ("grpc.max_receive_message_length", config.message_bytes_max),
                ("grpc.max_send_message_length", config.message_bytes_max),
                ("grpc.so_reuseport", 0),  # with it, a second server on the port would silently take half the calls
            ],
        )
        for api in apis:
            api.add_to(self._server)
        servicer = health.HealthServicer(services.health, names, self._stopping)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        reflection.enable_server_reflection((*names, health.SERVICE, reflection.SERVICE_NAME), self._server)

    async def start(self) -> None:
        """From now on `port` is the real one. Raises OSError where it cannot listen."""
        self.port = self._listen()
        await self._server.start()
        self._health.grpc_serves = True

    async def stop(self, grace_s: float) -> None:
        """New calls are refused; calls in flight have `grace_s` to finish, then they are cancelled."""
        self._stopping.set()
        self._health.grpc_serves = False
        await self._server.stop(grace_s)

    def _listen(self) -> int:
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        address, tls = f"{host}:{self._config.port}", self._config.tls
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, grpc.ssl_server_credentials([(tls.key, tls.certificate)]))
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {address}: the port is taken, or not of this machine") from error


def _roles(apis: Sequence[Api]) -> dict[str, Role | None]:
    """The least role by full method name; health and reflection are open to everybody."""
    roles: dict[str, Role | None] = {
        f"/{health.SERVICE}/Check": None,
        f"/{health.SERVICE}/Watch": None,
        f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": None,
    }
    for api in apis:
        roles |= {f"/{api.name}/{method}": role for method, role in api.roles.items()}
    return roles


def _limits(apis: Sequence[Api]) -> dict[str, LimitClass]:
    return {f"/{api.name}/{method}": limit for api in apis for method, limit in api.limits.items()}
