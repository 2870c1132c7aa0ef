"""A gRPC server on a free port in front of services on doubles, and Triton's own client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from tritonclient.grpc.aio import InferenceServerClient

from control_plane.dialects.kserve.grpc import kserve_api
from control_plane.domain.access import Role
from control_plane.edge.grpc.server import GrpcConfig, GrpcServer
from control_plane.edge.quotas import Quotas
from control_plane.pb.inference import stubs
from tests.contract.conftest import two_models
from tests.doubles.quotas import unlimited
from tests.doubles.services import World

Headers = dict[str, str]


@dataclass(frozen=True)
class ServedGrpc:
    """`client` is tritonclient's; `stub` takes messages that it would not make."""

    world: World
    client: Any
    stub: Any

    def as_role(self, role: Role) -> Headers:
        return {"authorization": f"Bearer {self.world.token(role)}"}

    @property
    def user(self) -> Headers:
        return self.as_role(Role.USER)


ServeGrpc = Callable[..., Awaitable[ServedGrpc]]


@pytest.fixture
async def serve_grpc() -> AsyncIterator[ServeGrpc]:
    """Serves a world of the test's own: `await serve_grpc(world, **config)`, by default `two_models`."""
    async with AsyncExitStack() as opened:

        async def serve(world: World | None = None, quotas: Quotas | None = None, **config: Any) -> ServedGrpc:
            world = world or await two_models()
            apis = [kserve_api(world.services)]
            server = GrpcServer(world.services, GrpcConfig("127.0.0.1", 0, **config), apis, quotas or unlimited())
            await server.start()
            opened.push_async_callback(server.stop, 0)
            target = f"127.0.0.1:{server.port}"
            client = await opened.enter_async_context(InferenceServerClient(target))
            channel = await opened.enter_async_context(grpc.aio.insecure_channel(target))
            return ServedGrpc(world, client, stubs.GRPCInferenceServiceStub(channel))

        yield serve


@pytest.fixture
async def served_grpc(serve_grpc: ServeGrpc) -> ServedGrpc:
    return await serve_grpc()
