"""Comparisons in a real scratch Triton: with itself, with one that sleeps longer, of texts, and with a killer."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.domain.errors import EngineCrashed, EngineFailed
from control_plane.domain.tensors import pack, text_tensor
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.ports import ScratchTriton
from control_plane.services.measuring import Bench, Pace, Served, Workload
from tests.triton import put_model

TEXT_MODEL = Path(__file__).parents[2] / "fixtures" / "tiny_text_model"
HURRIED = Pace(settle_s=0.0, window_s=0.05)  # what sleeps does not spin
TENSORS = Workload([(pack("X", "FP32", [1], [value]),) for value in (1.0, 2.0)], 1, 2, is_text=False)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scratch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScratchTriton]:
    state = tmp_path_factory.mktemp("measuring")
    async with LocalScratchTritons(state, None, SystemClock()).open(state / "scratch") as opened:
        for name, sleep_ms in (("baseline", 10), ("twin", 10), ("sluggish", 60)):
            put_sleeper(opened.repository, name, sleep_ms)
        for model in ("server_killer", "echo"):
            put_model(opened.repository, model)
        for name in ("text", "text_twin"):
            shutil.copytree(TEXT_MODEL, opened.repository / name)
        yield opened


def put_sleeper(repository: Path, name: str, sleep_ms: int) -> None:
    put_model(repository, "sleeper")
    (repository / "sleeper").rename(repository / name)
    config = repository / name / "config.pbtxt"
    config.write_text(config.read_text().replace('"4"', f'"{sleep_ms}"'))


async def test_a_model_beside_its_twin_is_no_faster_and_beside_a_slower_one_it_is(scratch: ScratchTriton) -> None:
    bench = Bench(scratch, TENSORS, HURRIED)
    baseline = Served("baseline", 100)
    twin = await bench.compare(baseline, Served("twin", 100), 8, lambda fraction: None)
    assert twin.speedup.low_999 <= 1.02
    assert twin.speedup.value == pytest.approx(1, rel=0.3)
    slower = await bench.compare(baseline, Served("sluggish", 100), 8, lambda fraction: None)
    assert slower.speedup.high < 0.8
    assert slower.throughput_ratio.high < 0.8
    assert slower.candidate.latency_p50_s >= 0.06
    assert slower.candidate.pss_bytes is not None
    assert slower.candidate.pss_bytes > 2**20


async def test_texts_are_compared_in_tokens(scratch: ScratchTriton) -> None:
    prompts = [(text_tensor("text_input", text),) for text in ("def main", "class Queue", "import")]
    bench = Bench(scratch, Workload(prompts, 1, 2, is_text=True, max_tokens=4), HURRIED)
    comparison = await bench.compare(Served("text", 1), Served("text_twin", 1), 5, lambda fraction: None)
    baseline = comparison.baseline
    assert baseline.tokens_per_second == pytest.approx(4 / baseline.latency_p50_s)
    assert comparison.speedup.low_999 <= 1.02


async def test_what_cannot_be_loaded_or_asked_says_why(scratch: ScratchTriton) -> None:
    with pytest.raises(EngineFailed, match="'echo' failed while it was warmed up"):
        await Bench(scratch, Workload([(pack("Z", "FP32", [1], [1.0]),)], 1, 1, is_text=False)).load("echo")
    with pytest.raises(EngineFailed, match="'missing'"):
        await Bench(scratch, TENSORS).load("missing")


async def test_after_a_model_that_kills_the_server_others_are_measured_again(scratch: ScratchTriton) -> None:
    bench = Bench(scratch, TENSORS, HURRIED)
    await bench.load("baseline")
    deaths = scratch.deaths
    with pytest.raises(EngineCrashed, match="Triton died while 'server_killer' was loaded"):
        await bench.load("server_killer")
    assert scratch.deaths == deaths + 1
    comparison = await bench.compare(Served("baseline", 1), Served("sluggish", 1), 5, lambda fraction: None)
    assert comparison.speedup.high < 0.8
