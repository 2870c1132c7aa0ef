"""Requests whose callers leave: a model ends its stream; no call to Triton is cancelled where that can be avoided."""

from __future__ import annotations

import asyncio
import gc
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from control_plane.domain.tensors import Inference, text_tensor, unpack
from control_plane.gateways.triton import stream as streams
from control_plane.gateways.triton.channel import Channel
from control_plane.gateways.triton.stub import TritonStub
from tests.triton import LOAD_S, RunningTriton, counting, wishing

TINY = Path(__file__).parents[2] / "fixtures" / "tiny_text_model"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def texts(triton: RunningTriton) -> RunningTriton:
    shutil.copytree(TINY, triton.repository / "left")
    await triton.control.load("left", LOAD_S)
    await triton.serve("counter")
    return triton


def text() -> Inference:
    """Eight texts to the end of the context."""
    asked = (("max_tokens", 4096), ("grammar", "[a-z]{2000}"), ("n", 8))
    return Inference("left", (text_tensor("text_input", "x"),), 20, ("text_output",), asked, takes_cancel=True)


async def counted(running: RunningTriton) -> tuple[int, int]:
    """Requests that ended well, and those that Triton cancelled."""
    statistics = await running.control.statistics("left")
    return statistics.success_count, statistics.cancel_count


async def until_ended(running: RunningTriton, count: int) -> int:
    """How many calls Triton has seen cancelled, once so many requests have ended well."""
    async with asyncio.timeout(10):
        while (await counted(running))[0] < count:  # noqa: ASYNC110 - Triton does not tell
            await asyncio.sleep(0.02)
    return (await counted(running))[1]


async def test_a_stream_that_is_left_ends_in_the_model(texts: RunningTriton) -> None:
    ended, cancelled = await counted(texts)
    answers = texts.stub.stream(text())
    await anext(answers)
    await answers.aclose()
    assert texts.stub.in_flight == 0
    assert await until_ended(texts, ended + 2) == cancelled  # the texts, and the request that ended them


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 20, 200])
async def test_so_does_one_whose_reader_is_cancelled_at_any_moment(texts: RunningTriton, turns: int) -> None:
    ended, cancelled = await counted(texts)
    answers = texts.stub.stream(text())
    reader = asyncio.create_task(anext(answers))
    for _ in range(turns):
        await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await answers.aclose()
    assert texts.stub.in_flight == 0
    if turns:
        assert await until_ended(texts, ended + 2) == cancelled


class Slow(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Triton's protocol, to see what Triton does not tell: whether a call was cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.began.set()
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            self.ending.set_result("cancelled")
            raise
        self.ending.set_result("whole")
        return service_pb2.ModelInferResponse()


async def test_a_request_for_one_answer_that_is_left_goes_on_to_its_end() -> None:
    slow, server, channel = Slow(), grpc.aio.server(), Channel()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(slow, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel.connect(f"127.0.0.1:{port}")
    channel.open_gate()
    stub = TritonStub(channel)
    asking = asyncio.create_task(stub.infer(wishing("nothing")))
    await asyncio.wait_for(slow.began.wait(), 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert stub.in_flight == 0
    gc.collect()  # a call that nobody holds is cancelled by gRPC
    assert await asyncio.wait_for(slow.ending, 10) == "whole"
    await channel.close()
    await server.stop(None)


async def test_a_call_whose_model_does_not_listen_is_cancelled(
    texts: RunningTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_FAREWELL_S", 0.2)
    diary = tmp_path / "diary"
    deaf = replace(counting(200, pause_s="0.02", diary=str(diary)), takes_cancel=True)  # one request after the other
    answers = texts.stub.stream(deaf)
    await anext(answers)
    await answers.aclose()
    async with asyncio.timeout(10):
        while not diary.exists() or not diary.read_text():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.02)
    assert diary.read_text().endswith("cancelled")


async def test_a_fault_of_our_own_reaches_who_waits_for_the_answer(
    texts: RunningTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(reply: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(streams.codec, "piece", broken)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(anext(texts.stub.stream(counting(3))), 10)
    assert texts.stub.in_flight == 0


async def test_a_model_whose_answers_nobody_reads_yet_is_not_idle(texts: RunningTriton) -> None:
    channel = Channel()
    assert texts.supervisor.address is not None
    channel.connect(texts.supervisor.address)
    channel.open_gate()
    answers = TritonStub(channel, idle_timeout_s=0.3).stream(counting(300))
    assert unpack((await anext(answers)).outputs[0]) == [0]
    await asyncio.sleep(1)
    assert [unpack(piece.outputs[0]) for piece in [piece async for piece in answers][:-1]] == [
        [number] for number in range(1, 300)
    ]
    await channel.close()
