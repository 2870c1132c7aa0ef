"""Health over gRPC (T-GRPC-11, T-GRPC-12, X-HLT-01), reflection (T-GRPC-14), and how the server stops."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from control_plane.domain.access import Role
from control_plane.domain.errors import Unavailable
from control_plane.domain.triton import TritonState
from control_plane.edge.grpc.server import GrpcConfig, GrpcServer
from control_plane.edge.tls import read_tls
from tests.contract.truthgpt.conftest import Serve, Served
from tests.contract.truthgpt.grpc_client import trailers
from tests.doubles.certificates import self_signed, written
from tests.doubles.quotas import unlimited

OURS = "truthgpt.optimization.OptimizationService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def check(served: Served, service: str = "") -> Any:
    stub = health_pb2_grpc.HealthStub(served.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_t_grpc_11_health_has_every_field_of_the_seed(served: Served) -> None:
    served.world.clock.advance(90.5)
    answer = await served.stub.HealthCheck(served.pb.HealthCheckRequest())
    assert (answer.status, answer.version, answer.uptime) == ("healthy", "1.0.0", 90.5)
    assert answer.timestamp == "2026-11-21T12:01:30.500Z"
    assert dict(answer.services) == {
        "database": "healthy",
        "redis": "not_configured",
        "gpu": "not_present",
        "triton": "healthy",
        "grpc": "healthy",
    }


@pytest.mark.parametrize(
    ("service", "status"),
    [("", "unhealthy"), (OURS, "unhealthy"), ("database", "unhealthy"), ("triton", "healthy"), ("moon", "unknown")],
)
async def test_t_grpc_11_a_service_is_asked_for_by_its_name(served: Served, service: str, status: str) -> None:
    served.world.database.failure = Unavailable("the disk is gone")
    answer = await served.stub.HealthCheck(served.pb.HealthCheckRequest(service=service))
    assert (answer.status, answer.services["database"]) == (status, "unhealthy")


@pytest.mark.parametrize("service", ["", OURS])
@pytest.mark.parametrize(
    ("state", "status"),
    [
        (TritonState.READY, SERVING),
        (TritonState.DEGRADED, SERVING),
        (TritonState.STARTING, NOT_SERVING),
        (TritonState.LOADING, NOT_SERVING),
        (TritonState.CRASHED, NOT_SERVING),
    ],
)
async def test_x_hlt_01_is_serving_only_while_the_server_is_ready(
    served: Served, service: str, state: TritonState, status: int
) -> None:
    served.world.server.state = state
    assert await check(served, service) == status


async def test_x_hlt_01_an_unknown_service_is_not_found(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await check(served, "moon")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_x_hlt_01_a_watch_tells_what_is_now_and_every_change(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=OURS))
    assert (await watch.read()).status == SERVING
    served.world.server.state = TritonState.CRASHED
    assert (await asyncio.wait_for(watch.read(), 5)).status == NOT_SERVING
    served.world.server.state = TritonState.READY
    assert (await asyncio.wait_for(watch.read(), 5)).status == SERVING
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="moon"))
    assert (await unknown.read()).status == SERVICE_UNKNOWN


async def test_x_hlt_01_a_watch_ends_when_the_server_stops_and_does_not_hold_it_up(served: Served) -> None:
    watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    await served.server.stop(grace_s=3600)
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() == grpc.aio.EOF


async def test_t_grpc_14_reflection_lists_the_services_and_describes_the_seeds_methods(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    request = reflection_pb2.ServerReflectionRequest
    call = stub.ServerReflectionInfo(iter([request(list_services=""), request(file_containing_symbol=OURS)]))
    listed, described = [answer async for answer in call]
    names = {service.name for service in listed.list_services_response.service}
    assert names == {OURS, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert served.pb.DESCRIPTOR.serialized_pb in described.file_descriptor_response.file_descriptor_proto


async def test_a_stopping_server_refuses_new_calls_and_finishes_the_ones_it_has(served: Served) -> None:
    served.world.triton.hold_at = 1
    running = served.stub.StreamInference(
        served.pb.StreamInferenceRequest(model_id="coder", input_text="one two"), metadata=served.as_role(Role.USER)
    )
    assert (await running.read()).token == "one"
    served.world.services.health.stopping.set()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.ListModels(served.pb.ListModelsRequest(), metadata=served.admin)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (
        trailers(refused.value.trailing_metadata()).items()
        >= {
            "x-error-code": "PIPELINE_UNAVAILABLE",
            "retry-after": "5",
        }.items()
    )
    assert await check(served) == NOT_SERVING
    stopping = asyncio.create_task(served.server.stop(grace_s=3600))
    served.world.triton.go_on.set()
    assert (await running.read()).token == " two"
    assert await running.read() == grpc.aio.EOF
    assert await running.code() is grpc.StatusCode.OK
    await stopping


async def test_a_call_that_outlasts_the_grace_is_told_and_ended_inside_triton(served: Served) -> None:
    served.world.triton.hold_at = 1
    running = served.stub.StreamInference(
        served.pb.StreamInferenceRequest(model_id="coder", input_text="one two"), metadata=served.as_role(Role.USER)
    )
    await running.read()
    await served.server.stop(grace_s=0.1)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await running.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    await asyncio.wait_for(served.world.triton.was_closed_early.wait(), 5)


async def test_health_says_of_grpc_whether_it_serves(served: Served) -> None:
    health = served.world.services.health
    assert (await health.report()).services["grpc"] == "healthy"
    await served.server.stop(grace_s=0)
    assert (await health.report()).services["grpc"] == "unhealthy"


async def test_a_port_that_is_taken_is_refused_in_one_sentence(served: Served) -> None:
    second = GrpcServer(served.world.services, GrpcConfig("127.0.0.1", served.server.port), [], unlimited())
    with pytest.raises(OSError, match=f"127.0.0.1:{served.server.port}"):
        await second.start()


async def test_with_a_certificate_the_wire_is_tls(serve: Serve, tmp_path: Path) -> None:
    certificate, key = self_signed()
    served = await serve(tls=read_tls("gRPC", *written(tmp_path, certificate, key)))
    credentials = grpc.ssl_channel_credentials(certificate)
    async with grpc.aio.secure_channel(f"localhost:{served.server.port}", credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await check(served)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
