"""Load, unload and what Triton says of its model directories."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from control_plane.domain.errors import EngineCrashed, EngineFailed, InvalidRequest, ModelNotReady, TimedOut
from control_plane.domain.tensors import unpack
from control_plane.gateways.triton.executors import executors
from tests.triton import LOAD_S, RunningTriton, counting, echo, put_model, wishing


async def test_a_loaded_directory_shows_its_signature_its_counters_and_its_memory(triton: RunningTriton) -> None:
    await triton.serve("echo")
    before = await triton.control.statistics("echo")
    for _ in range(2):  # Triton counts a request after it has answered it
        await triton.stub.infer(echo(1, 2))
    signature = await triton.control.signature("echo")
    assert [(spec.name, spec.datatype, spec.shape) for spec in signature.inputs] == [("X", "FP32", (-1, -1))]
    assert (signature.max_batch_size, signature.is_decoupled) == (8, False)
    assert (await triton.control.statistics("echo")).success_count - before.success_count in (1, 2)
    memory = triton.control.memory_bytes("echo")
    assert memory is not None
    assert 10 * 2**20 < memory < 200 * 2**20


async def test_the_index_names_what_is_loaded_and_what_is_not(triton: RunningTriton) -> None:
    await triton.serve("echo")
    put_model(triton.repository, "server_killer")
    states = {entry.directory: entry.state for entry in await triton.control.index()}
    assert (states["echo"], states["server_killer"]) == ("READY", "")


async def test_a_model_that_cannot_be_loaded_gives_its_own_reason(triton: RunningTriton) -> None:
    put_model(triton.repository, "broken")
    with pytest.raises(EngineFailed) as caught:
        await triton.control.load("broken", LOAD_S)
    assert caught.value.message == "Internal: ValueError: the weights are missing from place"


async def test_a_directory_that_is_not_there_cannot_be_loaded(triton: RunningTriton) -> None:
    with pytest.raises(EngineFailed, match="'nobody'"):
        await triton.control.load("nobody", LOAD_S)


@pytest.mark.parametrize("name", ["b$(touch pwned)", "a b", "../echo", "", "x" * 129, "-rf"])
async def test_a_name_that_a_shell_would_read_never_reaches_triton(triton: RunningTriton, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await triton.control.load(name, LOAD_S)
    with pytest.raises(InvalidRequest):
        await triton.control.unload(name, LOAD_S)


async def test_unloading_waits_for_the_requests_in_flight_and_may_be_repeated(triton: RunningTriton) -> None:
    await triton.serve("misbehaved")
    request = asyncio.create_task(triton.stub.infer(wishing("sleep")))
    await asyncio.sleep(0.3)
    await triton.control.unload("misbehaved", LOAD_S)
    assert unpack((await request).outputs[0]) == ["sleep"]
    assert triton.control.memory_bytes("misbehaved") is None
    await triton.control.unload("misbehaved", LOAD_S)
    with pytest.raises(ModelNotReady):
        await triton.stub.infer(wishing("hello"))
    with pytest.raises(ModelNotReady):
        await triton.control.statistics("misbehaved")


async def test_an_unload_that_takes_too_long_says_so(triton: RunningTriton) -> None:
    await triton.serve("misbehaved")
    request = asyncio.create_task(triton.stub.infer(wishing("sleep")))
    await asyncio.sleep(0.3)
    with pytest.raises(TimedOut, match="still finishing"):
        await triton.control.unload("misbehaved", 0.3)
    await request


async def test_an_unload_that_took_too_long_ends_with_the_process(triton: RunningTriton) -> None:
    died: list[str] = []
    triton.supervisor.on_model_died = died.append
    await triton.serve("counter")
    last = triton.stub.stream(counting(1000, pause_s="0.02"))
    await anext(last)
    with pytest.raises(TimedOut):
        await triton.control.unload("counter", 0.1)
    assert triton.supervisor.pid is not None
    for process in executors(triton.supervisor.pid, "counter"):
        process.kill()
    with pytest.raises(EngineCrashed):
        _ = [piece async for piece in last]
    await triton.control.unload("counter", LOAD_S)
    assert died == []
    await triton.serve("counter")


async def test_triton_shows_its_metrics(triton: RunningTriton, tmp_path: Path) -> None:
    await triton.serve("echo")
    await triton.stub.infer(echo(1))
    text = await triton.supervisor.metrics()
    assert text is not None
    assert 'nv_inference_request_success{model="echo",version="1"}' in text
