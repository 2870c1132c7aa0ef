"""The real perf_analyzer asks a real Triton what it was told to ask, and its numbers are read."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from control_plane.domain.errors import EngineFailed
from control_plane.domain.tensors import Tensor, bytes_tensor, pack, text_tensor
from control_plane.gateways.processes.perf_analyzer import PerfAnalyzer
from control_plane.ports import ProfileRequest
from tests.triton import LOAD_S, RunningTriton

WINDOW_S = 0.3
TINY_TEXT_MODEL = Path(__file__).parents[2] / "fixtures" / "tiny_text_model"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def address(triton: RunningTriton) -> str:
    for model in ("echo", "counter", "recorder"):
        await triton.serve(model)
    shutil.copytree(TINY_TEXT_MODEL, triton.repository / "tiny_text")
    await triton.control.load("tiny_text", LOAD_S)
    found = triton.supervisor.address
    assert found is not None
    return found


def recorded(rows: list[list[float]], *texts: bytes) -> tuple[Tensor, ...]:
    return pack("X", "FP32", [len(rows), len(rows[0])], rows), bytes_tensor("TEXT", [len(texts), 1], texts)


async def test_requests_of_several_rows_arrive_as_they_were_given_with_their_parameters(
    analyzer: PerfAnalyzer, address: str, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    one = recorded([[1.0, 2.0], [3.0, 4.0]], b"\xff a\n", b"")
    other = recorded([[5.0, 6.0], [7.0, 0.5]], b"b", b"c\x00d")
    request = ProfileRequest(
        address,
        "recorder",
        (one, other),
        concurrency=2,
        folder=tmp_path / "profile",
        parameters=(("diary", str(diary)), ("whole", 3), ("large", 2**40), ("half", 0.5), ("sure", True)),
        window_s=WINDOW_S,
        has_batch_axis=True,
    )
    profile = await analyzer.profile(request)

    parameters = {"diary": str(diary), "whole": 3, "large": str(2**40), "half": "0.5", "sure": True}
    lines = Counter(diary.read_text().splitlines())
    assert {line: json.loads(line)["parameters"] for line in lines} == dict.fromkeys(lines, parameters)
    arrived = [(json.loads(line)["X"], json.loads(line)["TEXT"]) for line in lines]
    assert sorted(arrived) == [
        ([[1.0, 2.0], [3.0, 4.0]], [[b"\xff a\n".hex()], [""]]),
        ([[5.0, 6.0], [7.0, 0.5]], [[b"b".hex()], [b"c\x00d".hex()]]),
    ]
    # Warm-up is not counted, nor is what was in flight at the ends of windows.
    assert 0 < profile.requests < sum(lines.values())
    # Counted over windows of 0.3 s in all, which perf_analyzer stretches a little.
    assert profile.requests_per_s * WINDOW_S == pytest.approx(profile.requests, rel=0.5)


async def test_a_profile_has_percentiles_in_order_and_names_its_tool(
    analyzer: PerfAnalyzer, address: str, tmp_path: Path
) -> None:
    requests = tuple((pack("X", "FP32", [1, size], [1.0] * size),) for size in (4, 16))
    request = ProfileRequest(address, "echo", requests, 3, tmp_path, window_s=WINDOW_S, has_batch_axis=True)
    profile = await analyzer.profile(request)
    assert (profile.tool, profile.concurrency) == (f"perf_analyzer {await analyzer.version()}", 3)
    assert 0 < profile.latency_p50_s <= profile.latency_p95_s <= profile.latency_p99_s < 5
    # Little's law: so many are under way as were sent at a time.
    assert profile.requests_per_s * profile.latency_p50_s < 3 * 1.5


async def test_a_stream_lasts_until_its_last_answer(analyzer: PerfAnalyzer, address: str, tmp_path: Path) -> None:
    requests = ((pack("COUNT", "INT32", [1], [4]),),)
    pause = (("pause_s", 0.02),)
    request = ProfileRequest(address, "counter", requests, 1, tmp_path, True, pause, WINDOW_S)
    profile = await analyzer.profile(request)
    assert 0.08 <= profile.latency_p50_s < 0.5
    assert profile.requests_per_s <= 1 / 0.08


async def test_a_window_too_short_for_one_answer_is_made_longer(
    analyzer: PerfAnalyzer, address: str, tmp_path: Path
) -> None:
    requests = ((pack("COUNT", "INT32", [1], [2]),),)
    request = ProfileRequest(address, "counter", requests, 1, tmp_path, True, (("pause_s", 0.05),), 0.15)
    profile = await analyzer.profile(request)
    assert profile.requests >= 1
    assert profile.latency_p50_s >= 0.1


async def test_text_is_generated_as_a_stream(analyzer: PerfAnalyzer, address: str, tmp_path: Path) -> None:
    requests = tuple((text_tensor("text_input", prompt),) for prompt in ("def f", 'class "é"\n'))
    parameters = (("max_tokens", 6), ("temperature", 0.0))
    request = ProfileRequest(address, "tiny_text", requests, 2, tmp_path, True, parameters, WINDOW_S)
    profile = await analyzer.profile(request)
    assert profile.requests > 0
    assert profile.latency_p99_s >= profile.latency_p50_s > 0


async def test_what_a_model_says_when_it_refuses_is_told_without_paths(
    analyzer: PerfAnalyzer, address: str, tmp_path: Path
) -> None:
    requests = ((pack("COUNT", "INT32", [1], [1]),),)
    refusing = ProfileRequest(address, "counter", requests, 1, tmp_path, True, (("then", "refuse"),), WINDOW_S)
    with pytest.raises(EngineFailed, match=r"^perf_analyzer failed: the queue is full, see place$"):
        await analyzer.profile(refusing)
    unknown = ProfileRequest(address, "nobody", requests, 1, tmp_path)
    with pytest.raises(EngineFailed, match="unknown model: 'nobody' is not found"):
        await analyzer.profile(unknown)


async def test_cancelled_it_leaves_no_process(analyzer: PerfAnalyzer, address: str, tmp_path: Path) -> None:
    requests = ((pack("X", "FP32", [1, 4], [1.0] * 4),),)
    request = ProfileRequest(address, "echo", requests, 1, tmp_path, window_s=60, has_batch_axis=True)
    running = asyncio.create_task(analyzer.profile(request))
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(_processes, tmp_path):  # noqa: ASYNC110 - nothing tells that it has begun
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert _processes(tmp_path) == []


def _processes(folder: Path) -> list[int]:
    """Those of perf_analyzer that read or write in the folder."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "perf_analyzer" in " ".join(process.info["cmdline"] or [])
        and str(folder) in " ".join(process.info["cmdline"])
    ]
