"""Serving settings searched with the real perf_analyzer, in a real scratch Triton."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.domain.models import Description, LoadOptions, ModelKind
from control_plane.domain.tensors import pack, text_tensor
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.processes.converter import ConverterInspector
from control_plane.gateways.processes.perf_analyzer import PerfAnalyzer
from control_plane.gateways.repository.configuration import Abilities
from control_plane.gateways.repository.repository import LocalRepository
from control_plane.gateways.triton.backend_directory import our_backends
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.ports import ScratchTriton
from control_plane.services.serving_search import Found, Grid, Limits, ServingSearch, Subject, Trial

FIXTURES = Path(__file__).parents[2] / "fixtures"
WINDOW_S = 0.15
SLO_P99_MS = 20_000.0  # whatever else this machine does, a row of eight numbers is answered by then


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scratch(state: Path) -> AsyncIterator[ScratchTriton]:
    async with LocalScratchTritons(state, None, SystemClock()).open(state / "scratch") as opened:
        yield opened


async def searched(
    analyzer: PerfAnalyzer, scratch: ScratchTriton, state: Path, subject: Subject, grid: Grid
) -> tuple[Found, list[Trial]]:
    backends = frozenset(folder.name for folder in our_backends())
    repository = LocalRepository(state, ConverterInspector(), SystemClock(), Abilities(backends))
    told: list[Trial] = []
    search = ServingSearch(scratch, repository, analyzer)
    limits = Limits(SLO_P99_MS, lambda: False)
    return await search.search(subject, grid, limits, state / "profiles", told.append), told


async def test_a_graph_is_tried_with_and_without_batches_and_the_best_is_told(
    analyzer: PerfAnalyzer, scratch: ScratchTriton, state: Path
) -> None:
    source = state / "mlp"
    (source / "1").mkdir(parents=True)
    shutil.copy(FIXTURES / "mlp" / "model.onnx", source / "1")
    requests = tuple((pack("features", "FP32", (2, 8), [value] * 16),) for value in (0.5, 1.5))
    subject = Subject(source, "mlp", Description(), LoadOptions(threads=1), requests)
    grid = Grid({"max_batch_size": (1, 8)}, (1, 3), WINDOW_S)
    found, told = await searched(analyzer, scratch, state, subject, grid)

    assert told == list(found.trials)
    assert [trial.settings.max_batch_size for trial in told] == [None, 1, 8]
    base, small, batched = told
    for trial in (base, batched):
        assert [profile.concurrency for profile in trial.profiles] == [1, 3], trial.reason
        assert all(profile.requests_per_s > 0 for profile in trial.profiles)
    assert small.profiles == ()  # two rows do not fit
    assert small.reason is not None
    assert "batch" in small.reason
    assert found.best is not None
    assert found.best in told
    assert found.confirmed is not None
    assert found.confirmed.latency_p99_s * 1000 <= SLO_P99_MS
    assert not (scratch.repository / "mlp").exists()
    assert not (state / "profiles").exists()
    loaded = [entry.directory for entry in await scratch.control.index() if entry.state == "READY"]
    assert loaded == ["tritonplane-probe"]


async def test_a_text_model_is_streamed_and_what_it_does_not_have_is_skipped(
    analyzer: PerfAnalyzer, scratch: ScratchTriton, state: Path
) -> None:
    shutil.copytree(FIXTURES / "tiny_text_model", state / "tiny")
    requests = tuple((text_tensor("text_input", prompt),) for prompt in ("def f", "class A"))
    subject = Subject(
        state / "tiny",
        "tiny",
        Description(ModelKind.TRANSFORMER),
        LoadOptions(),
        requests,
        (("max_tokens", 4), ("temperature", 0.0)),
    )
    found, told = await searched(
        analyzer, scratch, state, subject, Grid({"threads": (1,), "max_batch_size": (8,)}, (2,), WINDOW_S)
    )
    assert [(trial.settings.threads, trial.settings.max_batch_size) for trial in told[:2]] == [(None, None), (1, None)]
    assert all(len(trial.profiles) == 1 for trial in told[:2])
    refused = {trial.reason for trial in told[2:]}
    assert refused == {
        "max_batch_size does not apply to this model: a text model batches its requests by itself, token by token"
    }
    assert found.best in told[:2]
