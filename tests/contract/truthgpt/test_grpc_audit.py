"""What a gRPC call leaves in the audit log and in the access log (C-AUDIT-01)."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from control_plane.domain.access import Role
from tests.contract.truthgpt.conftest import Serve, Served
from tests.doubles.lines import InMemoryLines

SERVICE = "/truthgpt.optimization.OptimizationService"


async def test_c_audit_01_each_verb_over_grpc_leaves_a_line(served: Served) -> None:
    served.world.audit.written.clear()
    stub, pb = served.stub, served.pb
    options: dict[str, Any] = {"metadata": (*served.admin, ("x-request-id", "mine-1"))}
    await stub.UnloadModel(pb.UnloadModelRequest(model_id="coder"), **options)
    await stub.LoadModel(pb.LoadModelRequest(model_name="coder", model_type="transformer"), **options)
    await stub.LoadModel(pb.LoadModelRequest(model_name="absent", model_type="transformer"), **options)
    wanted = pb.OptimizeModelRequest(model_id="coder", optimization_level="basic")
    made = (await stub.OptimizeModel(wanted, **options)).optimization_id
    await stub.CancelOptimization(pb.CancelOptimizationRequest(optimization_id=made), **options)
    lines = served.world.audit.written
    assert [(line["verb"], line["object"]) for line in lines] == [
        ("model.unload", "coder"),
        ("model.load", "coder"),
        ("model.optimize", "coder"),
        ("job.cancel", made),
    ]
    assert {(line["door"], line["who"], line["request_id"]) for line in lines} == {("grpc", "somebody", "mine-1")}


async def test_c_audit_01_who_may_not_manage_is_told_of(served: Served) -> None:
    served.world.audit.written.clear()
    with pytest.raises(grpc.aio.AioRpcError):
        await served.stub.UnloadModel(
            served.pb.UnloadModelRequest(model_id="coder"), metadata=served.as_role(Role.VIEWER)
        )
    (line,) = served.world.audit.written
    assert (line["verb"], line["object"], line["result"], line["role"]) == (
        "request.refused",
        f"{SERVICE}/UnloadModel",
        "FORBIDDEN",
        "viewer",
    )


async def test_c_audit_01_each_call_leaves_a_line_in_the_access_log(serve: Serve) -> None:
    lines = InMemoryLines()
    served = await serve(access_log=lines)
    stub, pb = served.stub, served.pb
    await stub.ListModels(pb.ListModelsRequest(), metadata=served.admin)
    asked = pb.StreamInferenceRequest(model_id="coder", input_text="a private prompt")
    assert [token async for token in stub.StreamInference(asked, metadata=served.admin)]
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.ListModels(pb.ListModelsRequest())
    async with asyncio.timeout(10):  # a client may hear of a refusal before its line is written
        while len(lines.written) < 3:  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.001)
    shown = [(line["method"], line["path"], line["status"], line["who"]) for line in lines.written]
    assert shown == [
        ("GRPC", f"{SERVICE}/ListModels", "OK", "somebody"),
        ("GRPC", f"{SERVICE}/StreamInference", "OK", "somebody"),
        ("GRPC", f"{SERVICE}/ListModels", "UNAUTHENTICATED", None),
    ]
    assert all(line["peer"] == "127.0.0.1" and line["request_id"] and line["took_ms"] > 0 for line in lines.written)
    assert "private" not in str(lines.written)
