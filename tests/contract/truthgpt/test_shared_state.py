"""T-XD-01: what one API changes is what the others say at once: REST, GraphQL and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from control_plane.domain.access import Role
from control_plane.domain.jobs import JobKind
from tests.contract import served as http_side
from tests.contract.conftest import two_models
from tests.contract.truthgpt.conftest import Serve, Served
from tests.doubles.optimizations import StubOptimizing

MODEL = "coder"


@dataclass(frozen=True)
class Product:
    """One world behind HTTP and gRPC."""

    http: http_side.Served
    grpc: Served

    async def call(self, method: str, request: Any) -> Any:
        return await getattr(self.grpc.stub, method)(request, metadata=self.grpc.admin)

    async def rest(self, method: str, path: str, **more: Any) -> Any:
        reply = await self.http.client.request(method, path, headers=self.http.admin, **more)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def graphql(self, document: str) -> Any:
        reply = await self.rest("POST", "/graphql", json={"query": document})
        assert "errors" not in reply, reply
        return reply["data"]

    async def statuses(self) -> set[str]:
        """What each API says of the model, in its list and alone."""
        pb = self.grpc.pb
        listed = await self.call("ListModels", pb.ListModelsRequest())
        got = await self.call("GetModel", pb.GetModelRequest(model_id=MODEL))
        told = {(await self.rest("GET", f"{prefix}/models/{MODEL}"))["status"] for prefix in ("", "/v1")}
        told |= {model["status"] for model in await self.rest("GET", "/models") if model["model_id"] == MODEL}
        told |= {model.status for model in listed.models if model.model_id == MODEL}
        queried = await self.graphql(f'{{ model(modelId: "{MODEL}") {{ status }} models {{ modelId status }} }}')
        told |= {model["status"] for model in queried["models"] if model["modelId"] == MODEL}
        told.add(queried["model"]["status"])
        return told | {got.model.status}


@pytest.fixture
async def product(serve: Serve) -> AsyncIterator[Product]:
    world = await two_models()
    async with http_side.serving(world) as http:
        yield Product(http, await serve(world))


async def test_t_xd_01_a_model_that_one_api_loads_or_unloads_is_so_in_all_of_them_at_once(product: Product) -> None:
    pb = product.grpc.pb
    assert await product.statuses() == {"loaded"}
    assert await product.rest("DELETE", f"/models/{MODEL}") == {"success": True}
    assert await product.statuses() == {"unloaded"}
    assert (await product.call("LoadModel", pb.LoadModelRequest(model_name=MODEL))).success
    assert await product.statuses() == {"loaded"}
    assert (await product.call("UnloadModel", pb.UnloadModelRequest(model_id=MODEL))).success
    assert await product.statuses() == {"unloaded"}
    load = f'mutation {{ loadModel(name: "{MODEL}", modelType: "transformer") {{ modelId status }} }}'
    assert (await product.graphql(load))["loadModel"] == {"modelId": MODEL, "status": "loaded"}
    assert await product.statuses() == {"loaded"}
    assert (await product.graphql(f'mutation {{ unloadModel(modelId: "{MODEL}") }}'))["unloadModel"] is True
    assert await product.statuses() == {"unloaded"}
    await product.rest("POST", "/v1/models", json={"model_name": MODEL, "model_type": "transformer"})
    assert await product.statuses() == {"loaded"}


async def test_t_xd_01_an_optimization_that_one_api_starts_another_follows_and_cancels(product: Product) -> None:
    pb, work = product.grpc.pb, StubOptimizing(gate=asyncio.Event())
    product.http.world.services.jobs.register(JobKind.OPTIMIZE, work)
    started = await product.rest("POST", "/optimize", json={"model_id": "adder", "optimization_level": "basic"})
    optimization_id = started["optimization_id"]
    await work.half_way.wait()
    status = pb.GetOptimizationStatusRequest(optimization_id=optimization_id)
    assert (await product.call("GetOptimizationStatus", status)).status == "running"
    cancel = pb.CancelOptimizationRequest(optimization_id=optimization_id)
    asked = f'{{ optimization(optimizationId: "{optimization_id}") {{ status progress }} }}'
    assert (await product.graphql(asked))["optimization"] == {"status": "running", "progress": 50.0}
    assert (await product.call("CancelOptimization", cancel)).success
    assert (await product.graphql(asked))["optimization"]["status"] == "cancelled"
    assert (await product.rest("GET", f"/optimize/{optimization_id}"))["status"] == "cancelled"
    assert (await product.call("GetOptimizationStatus", status)).status == "cancelled"


async def test_t_xd_01_all_count_what_any_was_asked(product: Product) -> None:
    pb = product.grpc.pb
    user = {"metadata": product.grpc.as_role(Role.USER)}
    await product.grpc.stub.RunInference(pb.InferenceRequest(model_id=MODEL, input_text="a b"), **user)
    await product.rest("POST", "/inference", json={"model_id": MODEL, "input_data": {"text": "a b c"}})
    await product.graphql(f'mutation {{ runInference(modelId: "{MODEL}", inputData: "a b c d") {{ output }} }}')
    tally = product.http.world.services.inference.tallies[MODEL]
    assert (tally.successes, tally.tokens) == (3, 9)
