"""Tensors into a real Triton and back, streams, and every way in which a model can fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.domain.errors import (
    DomainError,
    EngineCrashed,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    TimedOut,
    Unavailable,
)
from control_plane.domain.tensors import Inference, pack, unpack
from control_plane.gateways.triton.channel import Channel
from control_plane.gateways.triton.executors import executors
from control_plane.gateways.triton.stub import TritonStub
from tests.triton import LOAD_S, RunningTriton, counting, echo, wishing


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def loaded(triton: RunningTriton) -> RunningTriton:
    await asyncio.gather(*(triton.serve(model) for model in ("echo", "counter", "misbehaved")))
    return triton


async def _collect(running: RunningTriton, inference: Inference) -> list[int]:
    return [number async for piece in running.stub.stream(inference) for out in piece.outputs for number in unpack(out)]


async def test_a_tensor_comes_back_whole(loaded: RunningTriton) -> None:
    answer = await loaded.stub.infer(echo(1, -2.5, 3, 4, shape=(2, 2)))
    assert [(tensor.name, tensor.shape, unpack(tensor)) for tensor in answer.outputs] == [
        ("Y", (2, 2), [1, -2.5, 3, 4])
    ]


async def test_a_tensor_larger_than_grpcs_own_limit_passes(loaded: RunningTriton) -> None:
    count = 3 * 2**20  # 12 MiB; grpc alone receives at most 4
    inference = Inference("echo", (pack("X", "FP32", (1, count), [7.0] * count),), 30, ("Y",))
    answer = await loaded.stub.infer(inference)
    assert answer.outputs[0].raw == inference.inputs[0].raw


async def test_requests_at_once_get_their_own_answers(loaded: RunningTriton) -> None:
    answers = await asyncio.gather(*(loaded.stub.infer(echo(number)) for number in range(50)))
    assert [unpack(answer.outputs[0]) for answer in answers] == [[number] for number in range(50)]
    assert loaded.stub.in_flight == 0


@pytest.mark.parametrize(
    ("inference", "expected"),
    [
        (Inference("nobody", (), 5), ModelNotFound),
        (Inference("echo", (pack("X", "INT32", [1, 1], [1]),), 5), InvalidRequest),
        (Inference("echo", (pack("Z", "FP32", [1, 1], [1]),), 5), InvalidRequest),
        (echo(1, shape=(1,)), InvalidRequest),
        (echo(*range(9), shape=(9, 1)), InvalidRequest),
        (counting(1), InvalidRequest),  # a model that streams, asked for one answer
        (wishing("raise"), EngineFailed),
        (wishing("refuse"), InvalidRequest),
        (wishing("anything", "ANSWER", "OTHER"), EngineFailed),  # Triton says OK, one output is missing
        (wishing("sleep", timeout_s=0.2), TimedOut),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value.directory,
)
async def test_a_failed_request_says_what_is_wrong_and_nothing_of_the_server(
    loaded: RunningTriton, inference: Inference, expected: type[DomainError]
) -> None:
    with pytest.raises(expected) as caught:
        await loaded.stub.infer(inference)
    assert type(caught.value) is expected
    assert "/" not in caught.value.message
    assert loaded.stub.in_flight == 0


async def test_a_stream_gives_every_answer_and_then_a_final_one(loaded: RunningTriton) -> None:
    pieces = [piece async for piece in loaded.stub.stream(counting(3))]
    assert [unpack(piece.outputs[0]) for piece in pieces[:-1]] == [[0], [1], [2]]
    assert [piece.is_final for piece in pieces] == [False, False, False, True]
    assert loaded.stub.in_flight == 0


async def test_a_model_that_gives_one_answer_can_be_streamed(loaded: RunningTriton) -> None:
    assert [unpack(piece.outputs[0]) async for piece in loaded.stub.stream(echo(5))] == [[5]]


async def test_closing_a_stream_stops_the_model(loaded: RunningTriton, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    stream = loaded.stub.stream(counting(1000, pause_s="0.02", diary=str(diary)))
    assert unpack((await anext(stream)).outputs[0]) == [0]
    await stream.aclose()
    assert loaded.stub.in_flight == 0
    sent, ending = await _read(diary)
    assert ending == "cancelled"
    assert int(sent) < 100


async def test_cancelling_the_task_that_reads_a_stream_stops_the_model(loaded: RunningTriton, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    task = asyncio.create_task(_collect(loaded, counting(1000, pause_s="0.02", diary=str(diary))))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await _read(diary))[1] == "cancelled"
    assert loaded.stub.in_flight == 0


@pytest.mark.parametrize(
    ("inference", "expected"),
    [
        (counting(2, then="refuse"), Unavailable),  # the code of the model's own error survives
        (Inference("counter", (pack("COUNT", "INT32", [2], [1, 2]),), 5), InvalidRequest),
        (Inference("nobody", (), 5), ModelNotFound),
        (counting(100, pause_s="0.05", timeout_s=0.5), TimedOut),
    ],
)
async def test_a_stream_that_fails_says_what_is_wrong(
    loaded: RunningTriton, inference: Inference, expected: type[DomainError]
) -> None:
    with pytest.raises(expected) as caught:
        await _collect(loaded, inference)
    assert "/" not in caught.value.message
    assert loaded.stub.in_flight == 0


async def test_a_killed_stub_ends_its_stream_after_the_idle_time_and_is_known_as_dead(loaded: RunningTriton) -> None:
    channel = Channel()
    assert loaded.supervisor.address is not None
    channel.connect(loaded.supervisor.address)
    channel.open_gate()
    impatient = TritonStub(channel, idle_timeout_s=0.7)
    with pytest.raises(TimedOut, match="sent nothing"):
        _ = [piece async for piece in impatient.stream(counting(1, then="die"))]
    await channel.close()
    with pytest.raises(EngineCrashed):
        await _collect(loaded, counting(1))
    await loaded.control.unload("counter", LOAD_S)
    await loaded.serve("counter")
    assert await _collect(loaded, counting(2)) == [0, 1]


@pytest.mark.parametrize("turns", range(1, 8))
async def test_a_stream_that_is_abandoned_while_its_request_is_sent_ends_at_once(
    triton: RunningTriton, turns: int
) -> None:
    await triton.serve("counter")
    stream = triton.stub.stream(counting(3))
    asking = asyncio.create_task(anext(stream))
    for _ in range(turns):
        await asyncio.sleep(0)
    triton.stub.abandon("counter", EngineFailed("its process died"))
    with pytest.raises(EngineFailed, match="its process died"):
        await asyncio.wait_for(asking, 5)
    assert triton.stub.in_flight == 0
    assert [piece async for piece in triton.stub.stream(counting(1))]


async def test_a_killed_stub_ends_its_streams_at_once_and_is_reported(loaded: RunningTriton) -> None:
    died: list[str] = []
    loaded.supervisor.on_model_died = died.append
    first, second = (loaded.stub.stream(counting(1000, pause_s="0.05")) for _ in range(2))
    await anext(first)
    waiting = asyncio.create_task(anext(second))  # the model works for the first
    await asyncio.sleep(0.1)
    started_s = time.monotonic()
    assert loaded.supervisor.pid is not None
    for process in executors(loaded.supervisor.pid, "counter"):
        process.kill()
    with pytest.raises(EngineCrashed):
        _ = [piece async for piece in first]
    with pytest.raises(EngineCrashed):
        await waiting
    assert time.monotonic() - started_s < 2
    assert (died, loaded.stub.in_flight) == (["counter"], 0)
    await loaded.control.unload("counter", LOAD_S)
    await loaded.serve("counter")
    assert await _collect(loaded, counting(2)) == [0, 1]
    await loaded.control.unload("counter", LOAD_S)
    await loaded.serve("counter")
    assert died == ["counter"]  # an unload ends the process too, and is no death


async def test_the_end_of_a_process_that_another_has_replaced_is_no_death(loaded: RunningTriton) -> None:
    died: list[str] = []
    loaded.supervisor.on_model_died = died.append
    last = loaded.stub.stream(counting(40, pause_s="0.02"))
    await anext(last)
    await loaded.serve("counter")  # of newer files: the process that has a request ends when that has its answer
    first = loaded.stub.stream(counting(100, pause_s="0.02"))
    await anext(first)
    await loaded.control.load("counter", LOAD_S)  # Triton has nothing to do
    assert loaded.supervisor.pid is not None
    assert len(executors(loaded.supervisor.pid, "counter")) == 2
    assert len([piece async for piece in last if piece.outputs]) == 39
    assert len([piece async for piece in first if piece.outputs]) == 99
    async with asyncio.timeout(LOAD_S):
        while len(executors(loaded.supervisor.pid, "counter")) > 1:  # noqa: ASYNC110 - Triton does not tell
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)
    assert died == []


async def test_a_stream_that_waits_its_turn_is_not_idle(loaded: RunningTriton) -> None:
    channel = Channel()
    assert loaded.supervisor.address is not None
    channel.connect(loaded.supervisor.address)
    channel.open_gate()
    impatient = TritonStub(channel, idle_timeout_s=0.5)
    first, second = (impatient.stream(counting(15, pause_s="0.1")) for _ in range(2))
    both = await asyncio.gather(*(asyncio.create_task(_count(stream)) for stream in (first, second)))
    assert both == [16, 16]
    await channel.close()


async def _count(stream: AsyncIterator[object]) -> int:
    return len([piece async for piece in stream])


async def test_a_dead_stub_fails_each_request_until_it_is_loaded_anew(loaded: RunningTriton) -> None:
    pid = loaded.supervisor.pid
    assert pid is not None
    for process in executors(pid, "misbehaved"):
        process.kill()
    with pytest.raises(EngineCrashed):
        await loaded.stub.infer(wishing("hello"))
    await loaded.control.unload("misbehaved", LOAD_S)
    await loaded.serve("misbehaved")
    assert unpack((await loaded.stub.infer(wishing("hello"))).outputs[0]) == ["hello"]


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    channel = Channel()
    channel.connect("127.0.0.1:1")
    channel.open_gate()
    stub = TritonStub(channel)
    with pytest.raises(Unavailable) as caught:
        await stub.infer(echo(1, timeout_s=5))
    assert caught.value.details["retry_after_seconds"] == 1
    with pytest.raises(Unavailable):
        await anext(stub.stream(echo(1, timeout_s=5)))
    await channel.close()


async def _read(diary: Path) -> list[str]:
    return await asyncio.to_thread(_wait_for, diary)


def _wait_for(diary: Path) -> list[str]:
    until_s = time.monotonic() + 10
    while not diary.exists() or not diary.read_text():
        assert time.monotonic() < until_s, "the model wrote nothing"
        time.sleep(0.02)
    return diary.read_text().split()
