"""Optimizations over REST as tests ask for them, hold them half-way, and read how they are."""

from __future__ import annotations

import asyncio
from typing import Any

from control_plane.domain.jobs import JobKind
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.services import World

LEVELS = [
    "basic", "advanced", "expert", "master", "legendary", "transcendent", "divine", "omnipotent", "infinite",
    "ultimate", "absolute", "perfect",
]  # fmt: skip
NOON = "2026-11-21T12:00:00.000Z"
STATUS = {
    "optimization_id", "status", "progress", "performance_metrics", "error_message", "state", "model_id",
    "optimization_level", "optimized_model_id", "current_step", "created_at", "started_at", "completed_at",
}  # fmt: skip
SERVING = {"latency_p50_s", "latency_p95_s", "throughput", "size_bytes", "tokens_per_second"}


async def asked(http: Served, level: str = "master", model: str = "adder", **parameters: Any) -> Any:
    body = {"model_id": model, "optimization_level": level, "parameters": parameters}
    return await http.client.post("/optimize", json=body, headers=http.admin)


async def submitted(http: Served, level: str = "master", **parameters: Any) -> str:
    reply = await asked(http, level, **parameters)
    assert reply.status_code == 200, reply.text
    optimization_id: str = reply.json()["optimization_id"]
    return optimization_id


async def finished(http: Served, level: str = "master", **parameters: Any) -> str:
    optimization_id = await submitted(http, level, **parameters)
    await http.world.services.jobs.wait(optimization_id)
    return optimization_id


async def status(http: Served, optimization_id: str) -> dict[str, Any]:
    reply = await http.client.get(f"/optimize/{optimization_id}", headers=http.viewer)
    assert reply.status_code == 200
    told: dict[str, Any] = reply.json()
    return told


async def world_with(work: StubOptimizing) -> World:
    world = await two_models()
    world.services.jobs.register(JobKind.OPTIMIZE, work)
    return world


async def held(serve_http: ServeHttp) -> tuple[Served, StubOptimizing, str]:
    """An optimization that waits half-way."""
    work = StubOptimizing(gate=asyncio.Event())
    http = await serve_http(await world_with(work))
    optimization_id = await submitted(http)
    await work.half_way.wait()
    return http, work, optimization_id
