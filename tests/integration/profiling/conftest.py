"""A real perf_analyzer, fetched once."""

from __future__ import annotations

import pytest
import pytest_asyncio

from control_plane.domain.errors import Unsupported
from control_plane.gateways.processes.perf_analyzer import PerfAnalyzer
from control_plane.ports import Progress


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def analyzer(tmp_path_factory: pytest.TempPathFactory) -> PerfAnalyzer:
    """Where its wheel cannot be had there is nothing to test; any other fault fails."""
    found = PerfAnalyzer(tmp_path_factory.mktemp("tools"))
    said: list[Progress] = []
    try:
        await found.prepare(said.append)
    except Unsupported as error:
        if "could not be fetched" in error.message:
            pytest.skip(error.message)
        raise
    fractions = [progress.fraction for progress in said]
    assert fractions == sorted(fractions)
    assert said[-1].message == "perf_analyzer is ready"
    return found
