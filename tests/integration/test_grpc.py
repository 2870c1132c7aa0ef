"""The gRPC API of the real product, by a client generated from the seed's text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.contract.truthgpt.grpc_client import generate_client
from tests.product import ServerProcess

OFFERED = ("truthgpt.optimization.OptimizationService", "inference.GRPCInferenceService")
MODEL, PROMPT = "stdlib-coder", "def read_file(path):\n"


@dataclass(frozen=True)
class Client:
    stub: Any
    pb: Any
    channel: grpc.aio.Channel
    admin: tuple[tuple[str, str], ...]

    def stream(self, **options: Any) -> Any:
        request = self.pb.StreamInferenceRequest(**{"model_id": MODEL, "input_text": PROMPT} | options)
        return self.stub.StreamInference(request, metadata=self.admin)


@pytest.fixture(scope="session")
async def client(product: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    generated = generate_client(tmp_path_factory.mktemp("generated"))
    async with grpc.aio.insecure_channel(product.grpc_target) as channel:
        admin = (("x-api-key", product.admin_key),)
        yield Client(generated.on(channel), generated.messages, channel, admin)


async def test_x_hlt_01_the_product_is_serving_and_says_what_it_offers(client: Client) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", *OFFERED):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = [answer async for answer in reflection.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in listed.list_services_response.service}
    assert {*OFFERED, "grpc.health.v1.Health"} <= names
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService")
    (described,) = [answer async for answer in reflection.ServerReflectionInfo(iter([request]))]
    assert described.file_descriptor_response.file_descriptor_proto


async def test_t_grpc_11_every_part_of_the_product_is_well(client: Client) -> None:
    answer = await client.stub.HealthCheck(client.pb.HealthCheckRequest())
    assert answer.uptime < 3600  # since start, not since 1970
    assert {name: answer.services[name] for name in ("database", "triton", "grpc")} == {
        "database": "healthy",
        "triton": "healthy",
        "grpc": "healthy",
    }


async def test_t_grpc_03_and_04_the_shipped_model_is_listed_as_rest_says_it(
    client: Client, product: ServerProcess
) -> None:
    listed = await client.stub.ListModels(client.pb.ListModelsRequest(), metadata=client.admin)
    got = await client.stub.GetModel(client.pb.GetModelRequest(model_id=MODEL), metadata=client.admin)
    assert got.model in listed.models
    with product.client() as http:
        said = http.get(f"/models/{MODEL}").raise_for_status().json()
    assert {field.name: getattr(got.model, field.name) for field in got.model.DESCRIPTOR.fields} == {
        field.name: said[field.name] or field.default_value for field in got.model.DESCRIPTOR.fields
    }


async def test_t_grpc_08_greedy_text_is_the_same_as_over_rest_and_as_its_stream(
    client: Client, product: ServerProcess
) -> None:
    request = client.pb.InferenceRequest(model_id=MODEL, input_text=PROMPT, max_length=24)
    whole = await client.stub.RunInference(request, metadata=client.admin)
    tokens = [token async for token in client.stream(max_length=24)]
    with product.client() as http:
        body = {"model_id": MODEL, "input_data": {"text": PROMPT}, "max_length": 24, "temperature": 0}
        output = http.post("/inference", json=body).raise_for_status().json()["output"]
    assert whole.output_text == "".join(whole.tokens) == output["text"]
    assert [token.token for token in tokens] == list(whole.tokens) == output["tokens"]
    assert [token.index for token in tokens] == list(range(len(tokens)))
    assert [token.is_final for token in tokens] == [False] * (len(tokens) - 1) + [True]
    assert [token.probability for token in tokens] == pytest.approx(list(whole.probabilities), rel=1e-3)
    assert all(0 < probability <= 1 for probability in whole.probabilities)
    assert whole.tokens_per_second * whole.inference_time == pytest.approx(len(tokens), rel=0.05)


async def test_t_grpc_08_a_prompt_longer_than_the_context_is_an_invalid_argument(client: Client) -> None:
    request = client.pb.InferenceRequest(model_id=MODEL, input_text="word " * 20_000)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.stub.RunInference(request, metadata=client.admin)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "context" in refused.value.details()


async def test_t_grpc_09_a_client_that_cancels_stops_the_generation_inside_triton(
    client: Client, product: ServerProcess
) -> None:
    before = counters(product)
    call = client.stream(max_length=900)  # greedy: by chance a text may be over before it is left
    for _ in range(3):
        await call.read()
    call.cancel()
    async with asyncio.timeout(5):
        while (after := counters(product))["cancelled"] == before["cancelled"] or after["busy"]:  # noqa: ASYNC110 - another process tells
            await asyncio.sleep(0.05)
    assert 3 <= after["tokens"] - before["tokens"] < 900


def counters(product: ServerProcess) -> dict[str, float]:
    """What the text model itself says inside Triton: its metrics, without their common prefix."""
    with product.client() as http:
        page = http.get("/metrics").raise_for_status().text
    found = re.findall(rf'^text_generation_(\w+)\{{[^}}]*model="{MODEL}--r1"[^}}]*\}} (\S+)$', page, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_t_grpc_01_and_02_a_model_is_unloaded_refuses_and_is_loaded_again(
    client: Client, product: ServerProcess
) -> None:
    unload = client.pb.UnloadModelRequest(model_id=MODEL)
    assert (await client.stub.UnloadModel(unload, metadata=client.admin)).success
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.stream(max_length=1).read()
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with product.client() as http:
            assert http.get(f"/models/{MODEL}").json()["status"] == "unloaded"
    finally:
        load = client.pb.LoadModelRequest(model_name=MODEL, model_type="transformer", config={"device": "cpu"})
        answer = await client.stub.LoadModel(load, metadata=client.admin, timeout=60)
    assert (answer.model_id, answer.success, answer.error_message) == (MODEL, True, "")
    assert (await client.stream(max_length=1).read()).is_final
