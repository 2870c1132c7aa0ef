"""A model beside a copy of itself is never said to be faster, as often as one looks: `make soak`.

`SOAK_AA` says how many comparisons; half of them are as long as those of a search, half as those that decide.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.domain.optimization import Comparison, pooled
from control_plane.domain.statistics import Interval
from control_plane.domain.tensors import text_tensor
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.ports import ScratchTriton
from control_plane.services.finals import LOADS, ROUNDS
from control_plane.services.measuring import Bench, Served, Workload
from control_plane.services.trials import SEARCH_ROUNDS
from control_plane.services.verdicts import MARGIN

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]
log = logging.getLogger(__name__)
COMPARISONS = int(os.environ.get("SOAK_AA", "20"))
MODEL = Path(__file__).parents[2] / "model_repository" / "stdlib-coder"
PROMPTS = (
    "def main(",
    "class Queue:\n",
    "import os\n\ndef",
    "for line in",
    "with open(",
    "    return",
    "try:\n",
    "if not",
)
CONCURRENCY = 8


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scratch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScratchTriton]:
    state = tmp_path_factory.mktemp("twins")
    async with LocalScratchTritons(state, None, SystemClock()).open(state / "scratch") as opened:
        for name in ("baseline", "twin"):
            shutil.copytree(MODEL, opened.repository / name)
            config = opened.repository / name / "config.pbtxt"
            config.write_text(config.read_text().replace('"stdlib-coder"', f'"{name}"'))
        yield opened


async def test_no_comparison_of_a_model_with_itself_claims_a_speedup(scratch: ScratchTriton) -> None:
    requests = [(text_tensor("text_input", prompt),) for prompt in PROMPTS]
    bench = Bench(scratch, Workload(requests, 1, CONCURRENCY, is_text=True))
    claims = []
    for number in range(1, COMPARISONS + 1):
        loads, rounds = (LOADS, ROUNDS) if number % 2 == 0 else (1, SEARCH_ROUNDS)
        comparison = pooled([await _compared(bench, rounds) for _ in range(loads)])
        log.info("%d of %d, %d loads of %d rounds: %s", number, COMPARISONS, loads, rounds, _told(comparison))
        if max(comparison.speedup.low_999, comparison.throughput_ratio.low_999) > MARGIN:
            claims.append(_told(comparison))
    assert claims == []


async def _compared(bench: Bench, rounds: int) -> Comparison:
    """Both loaded anew, as for a final: where memory lies is chance too."""
    for name in ("baseline", "twin"):
        await bench.load(name)
    comparison = await bench.compare(Served("baseline", 1), Served("twin", 1), rounds, lambda fraction: None)
    for name in ("baseline", "twin"):
        await bench.unload(name)
    return comparison


def _told(comparison: Comparison) -> str:
    return f"speedup {_ratio(comparison.speedup)}, throughput {_ratio(comparison.throughput_ratio)}"


def _ratio(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f}; 99.9 %: from {interval.low_999:.3f})"
