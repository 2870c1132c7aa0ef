"""The gRPC server: one port for all APIs, with health and reflection beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from control_plane.domain.access import Role
from control_plane.edge.grpc import health
from control_plane.edge.grpc.interceptor import Doorkeeper
from control_plane.edge.grpc.tls import Tls
from control_plane.services.registry import Services

MESSAGE_BYTES_MAX = 64 * 1024 * 1024  # contract 1.2, PAYLOAD_TOO_LARGE


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """Where to listen. Port 0 takes a free one. Without `tls` the wire is plain text."""

    host: str
    port: int
    tls: Tls | None = None
    message_bytes_max: int = MESSAGE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Api:
    """A service that a dialect offers: `roles` says for each method the least role; None opens it to everybody."""

    name: str
    roles: Mapping[str, Role | None]
    add_to: Callable[[grpc.aio.Server], None]


class GrpcServer:
    """Serves from `start` to `stop`, and tells the health service so. Made inside the event loop that serves."""

    def __init__(self, services: Services, config: GrpcConfig, apis: Sequence[Api]) -> None:
        self._config, self._health = config, services.health
        self._stopping, self.port = asyncio.Event(), config.port
        names = [api.name for api in apis]
        self._server = grpc.aio.server(
            interceptors=[Doorkeeper(services.access, services.health, _roles(apis))],
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
