"""Optimizations over gRPC: T-GRPC-05 to 07, and what is told in-band (D-15)."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobKind
from tests.contract.truthgpt.conftest import Serve, Served
from tests.contract.truthgpt.grpc_client import trailers
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world


async def asked(served: Served, **parameters: str) -> str:
    request = served.pb.OptimizeModelRequest(model_id="vector", optimization_level="master", parameters=parameters)
    answer = await served.stub.OptimizeModel(request, metadata=served.admin)
    assert (answer.success, answer.error_message) == (True, "")
    optimization_id: str = answer.optimization_id
    return optimization_id


async def held(served: Served) -> str:
    """An optimization that waits half-way."""
    work = StubOptimizing(gate=asyncio.Event())
    served.world.services.jobs.register(JobKind.OPTIMIZE, work)
    optimization_id = await asked(served)
    await work.half_way.wait()
    return optimization_id


async def test_t_grpc_05_an_optimization_is_asked_for_with_parameters_of_strings(served: Served) -> None:
    optimization_id = await asked(served, learning_rate="0.001", batch_size="32", recipes='["threads-1"]')
    assert optimization_id.startswith("opt_")
    job = await served.world.services.jobs.get(optimization_id)
    kept = {name: job.parameters[name] for name in ("level", "batch_size", "recipes", "ignored_parameters")}
    assert kept == {
        "level": "master",
        "batch_size": 32,
        "recipes": ["threads-1"],
        "ignored_parameters": ["learning_rate"],
    }
    assert (job.created_by, job.model) == ("somebody", "vector")


@pytest.mark.parametrize(
    ("model", "level", "parameters", "said", "code"),
    [
        ("nobody", "basic", {}, "Model not found", "MODEL_NOT_FOUND"),
        ("vector", "godlike", {}, "optimization_level must be one of basic,", "INVALID_REQUEST"),
        ("vector", "", {}, "optimization_level must be one of basic,", "INVALID_REQUEST"),
        ("b$(touch x)", "basic", {}, "cannot name a model", "INVALID_REQUEST"),
        ("vector", "basic", {"tempo": "high"}, "unknown parameter 'tempo'", "INVALID_REQUEST"),
        ("vector", "basic", {"min_accuracy": "2"}, "min_accuracy must be a number from 0 to 1", "INVALID_REQUEST"),
        ("vector", "basic", {"deploy": "canary"}, "rollouts", "NOT_SUPPORTED_HERE"),
    ],
)
async def test_t_grpc_05_what_cannot_be_done_is_told_in_band(
    served: Served, model: str, level: str, parameters: dict[str, str], said: str, code: str
) -> None:
    request = served.pb.OptimizeModelRequest(model_id=model, optimization_level=level, parameters=parameters)
    call = served.stub.OptimizeModel(request, metadata=served.admin)
    answer = await call
    assert (answer.success, answer.optimization_id) == (False, "")
    assert said in answer.error_message
    assert trailers(await call.trailing_metadata())["x-error-code"] == code


async def test_t_grpc_06_the_status_goes_from_running_to_completed_with_what_was_measured(served: Served) -> None:
    work = StubOptimizing(gate=asyncio.Event())
    served.world.services.jobs.register(JobKind.OPTIMIZE, work)
    optimization_id = await asked(served)
    await work.half_way.wait()
    request = served.pb.GetOptimizationStatusRequest(optimization_id=optimization_id)
    viewer = served.as_role(Role.VIEWER)

    running = await served.stub.GetOptimizationStatus(request, metadata=viewer)
    assert (running.optimization_id, running.status, running.progress) == (optimization_id, "running", 50.0)
    assert (dict(running.performance_metrics), running.error_message) == ({}, "")

    assert work.gate is not None
    work.gate.set()
    await served.world.services.jobs.wait(optimization_id)
    completed = await served.stub.GetOptimizationStatus(request, metadata=viewer)
    assert (completed.status, completed.progress) == ("completed", 100.0)
    assert completed.performance_metrics["accuracy_preservation"] == pytest.approx(0.9954)
    assert 1.8 < completed.performance_metrics["speedup"] < 2.2
    assert completed.performance_metrics["memory_reduction"] == pytest.approx(0.4)


async def test_t_grpc_06_a_failed_one_says_why(served: Served) -> None:
    served.world.services.jobs.register(JobKind.OPTIMIZE, StubOptimizing(failure=EngineFailed("the baseline died")))
    optimization_id = await asked(served)
    await served.world.services.jobs.wait(optimization_id)
    request = served.pb.GetOptimizationStatusRequest(optimization_id=optimization_id)
    answer = await served.stub.GetOptimizationStatus(request, metadata=served.admin)
    assert (answer.status, answer.error_message) == ("failed", "the baseline died")


@pytest.mark.parametrize("unknown", ["opt_01JCZZZZZZZZZZZZZZZZZZZZZZ", "", "x" * 5000])
async def test_t_grpc_06_an_unknown_one_is_not_found_in_the_seeds_words(served: Served, unknown: str) -> None:
    request = served.pb.GetOptimizationStatusRequest(optimization_id=unknown)
    call = served.stub.GetOptimizationStatus(request, metadata=served.admin)
    answer = await call
    assert (answer.optimization_id, answer.status, answer.progress) == (unknown, "not_found", 0.0)
    assert answer.error_message == "Optimization not found"
    assert trailers(await call.trailing_metadata())["x-error-code"] == "OPTIMIZATION_NOT_FOUND"
    assert await call.code() is grpc.StatusCode.OK


async def test_t_grpc_07_a_running_one_is_cancelled(served: Served) -> None:
    optimization_id = await held(served)
    request = served.pb.CancelOptimizationRequest(optimization_id=optimization_id)
    answer = await served.stub.CancelOptimization(request, metadata=served.admin)
    assert (answer.success, answer.error_message) == (True, "")
    status = served.pb.GetOptimizationStatusRequest(optimization_id=optimization_id)
    told = await served.stub.GetOptimizationStatus(status, metadata=served.admin)
    assert (told.status, told.progress) == ("cancelled", 50.0)


async def test_t_grpc_07_what_is_over_or_unknown_cannot_be_cancelled_and_that_is_told_in_band(served: Served) -> None:
    over = await asked(served)
    await served.world.services.jobs.wait(over)
    for optimization_id, said in ((over, "the job is over: completed"), ("opt_nothing", "Optimization not found")):
        request = served.pb.CancelOptimizationRequest(optimization_id=optimization_id)
        answer = await served.stub.CancelOptimization(request, metadata=served.admin)
        assert (answer.success, answer.error_message) == (False, said)


async def test_t_grpc_07_somebody_elses_is_refused_with_a_status(serve: Serve) -> None:
    served = await serve(await make_world(tensor_revision("vector"), user_can_manage=True))
    optimization_id = await held(served)
    request = served.pb.CancelOptimizationRequest(optimization_id=optimization_id)
    tom = (("authorization", f"Bearer {served.world.token(Role.USER, 'tom')}"),)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.CancelOptimization(request, metadata=tom)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
