"""A real gRPC server on a free port in front of services on doubles, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from control_plane.dialects.truthgpt.grpc import truthgpt_api
from control_plane.domain.access import Role
from control_plane.edge.grpc.server import GrpcConfig, GrpcServer
from control_plane.edge.quotas import Quotas
from tests.contract.truthgpt.grpc_client import GeneratedClient, generate_client
from tests.doubles.quotas import unlimited
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import World, make_world


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> GeneratedClient:
    return generate_client(tmp_path_factory.mktemp("client"))


@dataclass(frozen=True)
class Served:
    """A world behind gRPC. `stub` is a client generated from the seed's text; `channel` is the one it uses."""

    world: World
    server: GrpcServer
    channel: grpc.aio.Channel
    stub: Any
    pb: Any

    def as_role(self, role: Role) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.world.token(role)}"),)

    @property
    def admin(self) -> tuple[tuple[str, str], ...]:
        return self.as_role(Role.ADMIN)


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(generated: GeneratedClient) -> AsyncIterator[Serve]:
    """Serves a world: `await serve(world)`, or one with a text model `coder` and a tensor model `vector`."""
    async with AsyncExitStack() as opened:

        async def serve(world: World | None = None, quotas: Quotas | None = None, **config: Any) -> Served:
            if world is None:
                world = await make_world(text_revision("coder"), tensor_revision("vector"))
                await world.services.models.load("coder")
            api = truthgpt_api(world.services)
            server = GrpcServer(world.services, GrpcConfig("127.0.0.1", 0, **config), [api], quotas or unlimited())
            await server.start()
            opened.push_async_callback(server.stop, 0)
            channel = await opened.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
            return Served(world, server, channel, generated.on(channel), generated.messages)

        yield serve


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve()
