"""A client of the seed's text against all that one port offers: times (T-GRPC-12), reflection (T-GRPC-14)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from control_plane.dialects.kserve.grpc import kserve_api
from control_plane.dialects.truthgpt.grpc import truthgpt_api
from control_plane.domain.access import Role
from control_plane.edge.grpc.server import GrpcConfig, GrpcServer
from tests.contract.conftest import two_models
from tests.contract.truthgpt.conftest import Served
from tests.contract.truthgpt.grpc_client import GeneratedClient
from tests.doubles.quotas import unlimited

OURS, TRITONS = "truthgpt.optimization.OptimizationService", "inference.GRPCInferenceService"
RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
TIMES = {"created_at", "updated_at", "timestamp"}


@pytest.fixture
async def served(generated: GeneratedClient) -> AsyncIterator[Served]:
    async with AsyncExitStack() as opened:
        world = await two_models()
        apis = [truthgpt_api(world.services), kserve_api(world.services)]
        server = GrpcServer(world.services, GrpcConfig("127.0.0.1", 0), apis, unlimited())
        await server.start()
        opened.push_async_callback(server.stop, 0)
        channel = await opened.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        yield Served(world, server, channel, generated.on(channel), generated.messages)


async def test_t_grpc_12_every_time_in_every_message_is_rfc_3339_in_utc_to_the_millisecond(served: Served) -> None:
    pb, told = served.pb, list[str]()
    for method, request in (
        ("ListModels", pb.ListModelsRequest()),
        ("GetModel", pb.GetModelRequest(model_id="coder")),
        ("RunInference", pb.InferenceRequest(model_id="coder", input_text="a b")),
        ("HealthCheck", pb.HealthCheckRequest()),
    ):
        answer = await getattr(served.stub, method)(request, metadata=served.as_role(Role.USER))
        found = list(times(answer))
        assert found, method
        told += found
    assert all(RFC3339.fullmatch(time) for time in told), told


async def test_t_grpc_14_reflection_lists_both_services(served: Served) -> None:
    stub, request = reflection_pb2_grpc.ServerReflectionStub(served.channel), reflection_pb2.ServerReflectionRequest
    asked = [request(list_services=""), *(request(file_containing_symbol=name) for name in (OURS, TRITONS))]
    listed, *described = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    assert {OURS, TRITONS} <= {service.name for service in listed.list_services_response.service}
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in described)


def times(message: Any) -> Iterator[str]:
    """What the fields of that name hold, in a message and all below it."""
    for field, value in message.ListFields():
        if field.name in TIMES:
            yield value
        elif field.type == field.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
            for below in value if field.is_repeated else [value]:
                yield from times(below)
