"""T-XD-01: what one API changes is what the others say at once."""

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
class Both:
    """One world behind HTTP and gRPC."""

    http: http_side.Served
    grpc: Served

    async def call(self, method: str, request: Any) -> Any:
        return await getattr(self.grpc.stub, method)(request, metadata=self.grpc.admin)

    async def rest(self, method: str, path: str, **more: Any) -> Any:
        reply = await self.http.client.request(method, path, headers=self.http.admin, **more)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def statuses(self) -> set[str]:
        """What each API says of the model, in its list and alone."""
        pb = self.grpc.pb
        listed = await self.call("ListModels", pb.ListModelsRequest())
        got = await self.call("GetModel", pb.GetModelRequest(model_id=MODEL))
        told = {(await self.rest("GET", f"{prefix}/models/{MODEL}"))["status"] for prefix in ("", "/v1")}
        told |= {model["status"] for model in await self.rest("GET", "/models") if model["model_id"] == MODEL}
        told |= {model.status for model in listed.models if model.model_id == MODEL}
        return told | {got.model.status}


@pytest.fixture
async def both(serve: Serve) -> AsyncIterator[Both]:
    world = await two_models()
    async with http_side.serving(world) as http:
        yield Both(http, await serve(world))


async def test_t_xd_01_a_model_that_one_api_loads_or_unloads_is_so_in_all_of_them_at_once(both: Both) -> None:
    pb = both.grpc.pb
    assert await both.statuses() == {"loaded"}
    assert await both.rest("DELETE", f"/models/{MODEL}") == {"success": True}
    assert await both.statuses() == {"unloaded"}
    assert (await both.call("LoadModel", pb.LoadModelRequest(model_name=MODEL))).success
    assert await both.statuses() == {"loaded"}
    assert (await both.call("UnloadModel", pb.UnloadModelRequest(model_id=MODEL))).success
    assert await both.statuses() == {"unloaded"}
    await both.rest("POST", "/v1/models", json={"model_name": MODEL, "model_type": "transformer"})
    assert await both.statuses() == {"loaded"}


async def test_t_xd_01_an_optimization_that_one_api_starts_another_follows_and_cancels(both: Both) -> None:
    pb, work = both.grpc.pb, StubOptimizing(gate=asyncio.Event())
    both.http.world.services.jobs.register(JobKind.OPTIMIZE, work)
    started = await both.rest("POST", "/optimize", json={"model_id": "adder", "optimization_level": "basic"})
    optimization_id = started["optimization_id"]
    await work.half_way.wait()
    status = pb.GetOptimizationStatusRequest(optimization_id=optimization_id)
    assert (await both.call("GetOptimizationStatus", status)).status == "running"
    cancel = pb.CancelOptimizationRequest(optimization_id=optimization_id)
    assert (await both.call("CancelOptimization", cancel)).success
    assert (await both.rest("GET", f"/optimize/{optimization_id}"))["status"] == "cancelled"
    assert (await both.call("GetOptimizationStatus", status)).status == "cancelled"


async def test_t_xd_01_both_count_what_either_was_asked(both: Both) -> None:
    pb = both.grpc.pb
    user = {"metadata": both.grpc.as_role(Role.USER)}
    await both.grpc.stub.RunInference(pb.InferenceRequest(model_id=MODEL, input_text="a b"), **user)
    await both.rest("POST", "/inference", json={"model_id": MODEL, "input_data": {"text": "a b c"}})
    tally = both.http.world.services.inference.tallies[MODEL]
    assert (tally.successes, tally.tokens) == (2, 5)
