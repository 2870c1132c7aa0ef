"""Every route that is not public counts in a class on purpose (C-RL-02): what is new gets its row here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control_plane.dialects.http import DIALECTS
from control_plane.dialects.kserve.grpc import kserve_api
from control_plane.dialects.truthgpt.grpc import truthgpt_api
from control_plane.domain.limits import LimitClass
from tests.doubles.services import make_world

DEFAULT, INFERENCE, OPTIMIZATION = LimitClass.DEFAULT, LimitClass.INFERENCE, LimitClass.OPTIMIZATION
MANAGEMENT, READS = LimitClass.MODEL_MANAGEMENT, LimitClass.MODEL_READS
# Reads that are not listed count as DEFAULT. Whatever changes something has its row.
ROUTES: dict[str, LimitClass | None] = {
    "GET /models": READS,
    "GET /models/{model_id}": READS,
    "GET /models/{model_id}/metrics": READS,
    "POST /models": MANAGEMENT,
    "DELETE /models/{model_id}": MANAGEMENT,
    "POST /models/{model_id}/import": MANAGEMENT,
    "POST /models/{model_id}/export": MANAGEMENT,
    "POST /native/v1/models/{name}/revisions": MANAGEMENT,
    "POST /native/v1/models/{name}/exports": MANAGEMENT,
    "POST /native/v1/models/{name}/load": MANAGEMENT,
    "POST /native/v1/models/{name}/unload": MANAGEMENT,
    "POST /optimize": OPTIMIZATION,
    # To stop what was asked for too much must stay possible.
    "DELETE /optimize/{optimization_id}": DEFAULT,
    "POST /optimize/{optimization_id}/cancel": DEFAULT,
    "POST /native/v1/jobs/{job_id}/cancel": DEFAULT,
    # Its operations charge themselves, each in its own class.
    "GET /graphql": None,
    "POST /graphql": None,
    "POST /auth/token": DEFAULT,
    "POST /auth/keys": DEFAULT,
    "DELETE /auth/keys/{key_id}": DEFAULT,
    "POST /inference": INFERENCE,
    "POST /inference/stream": INFERENCE,
    "POST /v2/models/{model}/infer": INFERENCE,
    "POST /v2/models/{model}/versions/{version}/infer": INFERENCE,
}
METHODS = {
    "LoadModel": MANAGEMENT,
    "UnloadModel": MANAGEMENT,
    "ListModels": READS,
    "GetModel": READS,
    "OptimizeModel": OPTIMIZATION,
    "GetOptimizationStatus": DEFAULT,
    "CancelOptimization": DEFAULT,
    "RunInference": INFERENCE,
    "StreamInference": INFERENCE,
    "BenchmarkModel": INFERENCE,
    "ServerMetadata": DEFAULT,
    "ModelReady": DEFAULT,
    "ModelMetadata": DEFAULT,
    "ModelInfer": INFERENCE,
    "ModelStreamInfer": INFERENCE,
    "ModelConfig": DEFAULT,
    "ModelStatistics": DEFAULT,
    "RepositoryIndex": DEFAULT,
    "RepositoryModelLoad": MANAGEMENT,
    "RepositoryModelUnload": MANAGEMENT,
    "SystemSharedMemoryStatus": DEFAULT,
    "SystemSharedMemoryRegister": DEFAULT,
    "SystemSharedMemoryUnregister": DEFAULT,
    "CudaSharedMemoryStatus": DEFAULT,
    "CudaSharedMemoryRegister": DEFAULT,
    "CudaSharedMemoryUnregister": DEFAULT,
    "TraceSetting": DEFAULT,
    "LogSettings": DEFAULT,
}


def comfortable() -> Iterator[tuple[str, LimitClass | None]]:
    for dialect in DIALECTS:
        yield from ((f"{r.method} {r.path}", r.limit) for r in dialect.routes.declared if not r.is_public)


@pytest.mark.parametrize(("route", "limit"), list(comfortable()))
def test_a_route_counts_in_the_class_that_is_meant(route: str, limit: LimitClass | None) -> None:
    if not route.startswith("GET "):
        assert route in ROUTES, f"say here in which class {route} counts; see docs/configuration.md, rate limits"
    assert limit is ROUTES.get(route, DEFAULT)


async def test_a_lean_route_counts_in_the_class_that_is_meant() -> None:
    services = (await make_world()).services
    lean = {f"{route.method} {route.template}": route.limit for d in DIALECTS for route in d.lean(services)}
    assert lean == {route: ROUTES.get(route) for route in lean}


async def test_every_row_is_of_a_route_that_there_is() -> None:
    services = (await make_world()).services
    lean = {f"{route.method} {route.template}" for d in DIALECTS for route in d.lean(services)}
    assert set(ROUTES) == {route for route, _ in comfortable() if route in ROUTES} | lean


def test_public_routes_are_not_counted() -> None:
    assert {route.limit for d in DIALECTS for route in d.routes.declared if route.is_public} == {None}


async def test_a_grpc_method_counts_in_the_class_that_is_meant() -> None:
    services = (await make_world()).services
    for api in (truthgpt_api(services), kserve_api(services)):
        assert set(api.limits) <= set(api.roles)
        for method, role in api.roles.items():
            if role is not None:
                assert api.limits.get(method, DEFAULT) is METHODS[method], method
