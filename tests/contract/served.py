"""The HTTP side of the server on a real socket, with the services on doubles."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from control_plane.dialects.http import build_http
from control_plane.domain.access import Role
from control_plane.edge.http.app import HttpConfig
from control_plane.edge.http.server import HttpServer, listen
from control_plane.edge.quotas import Quotas
from control_plane.edge.tls import Tls
from tests.doubles.quotas import unlimited
from tests.doubles.services import World
from tests.product import NO_TLS


@dataclass
class Served:
    """`client` sends no credentials; `as_role` gives headers that do."""

    world: World
    server: HttpServer
    url: str
    client: httpx.AsyncClient

    def as_role(self, role: Role | str, subject: str = "somebody") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.world.token(Role(role), subject)}"}

    @property
    def viewer(self) -> dict[str, str]:
        return self.as_role(Role.VIEWER)

    @property
    def user(self) -> dict[str, str]:
        return self.as_role(Role.USER)

    @property
    def admin(self) -> dict[str, str]:
        return self.as_role(Role.ADMIN)


@asynccontextmanager
async def serving(
    world: World, triton_metrics: Any = None, tls: Tls | None = None, quotas: Quotas | None = None, **config: Any
) -> AsyncIterator[Served]:
    """A server on a free port, ended with the block. With `tls`, its client trusts nobody else."""
    more = {"triton_metrics": triton_metrics} if triton_metrics else {}
    app = build_http(world.services, HttpConfig(**config), quotas or unlimited(), **more)
    sockets = listen("127.0.0.1", [0])
    server = HttpServer(app, tls)
    task = asyncio.create_task(server.serve(sockets))
    scheme, trusts = ("http", NO_TLS) if tls is None else ("https", ssl.create_default_context())
    if tls is not None:
        trusts.load_verify_locations(cadata=tls.certificate.decode())
    url = f"{scheme}://127.0.0.1:{sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=20, verify=trusts) as client:
        yield Served(world, server, url, client)
    await server.stop(0)
    await task
