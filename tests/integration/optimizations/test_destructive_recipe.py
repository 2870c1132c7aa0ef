"""A recipe that destroys a model: really made, really compared, rejected by the floor, and never served."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import converters
from control_plane.domain.jobs import JobState
from control_plane.domain.optimization import Level
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.processes.conversions import ConverterRunner
from control_plane.gateways.processes.workspaces import LocalWorkspaces
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.ports import Publication, ScratchTriton
from control_plane.services.measuring import Bench, Pace, Workload
from tests.doubles.optimizing import Place, recipes, result
from tests.integration.converters.test_conversions import PYTHON, ROOT, ReadyEnvironment
from tests.triton import leftovers
from tests.unit.repository.directories import MLP_CONFIG, Workshop, write_directory

LEVEL = """
name = "basic"
summary = "what the test wants"
min_accuracy = 0.99

[[candidates]]
name = "shuffled"
takes = ["onnx"]

[[candidates.steps]]
recipe = "shuffle"

[[candidates]]
name = "harmless"
takes = ["onnx"]

[[candidates.steps]]
recipe = "onnx_optimize"
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The converter with one recipe more, and one level that tries it."""
    code = tmp_path / "code" / "converters"
    shutil.copytree(Path(converters.__file__).parent, code, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "doubles" / "shuffling_recipe.py", code / "recipes" / "shuffle.py")
    for file in (code / "levels").glob("*.toml"):
        file.unlink()
    (code / "levels" / "01_basic.toml").write_text(LEVEL)
    return code


@pytest.fixture
async def place(tmp_path: Path, code: Path) -> Place:
    """Real conversions, a real scratch Triton and a real repository; database and serving Triton are doubles."""
    state = tmp_path / "state"
    shop = Workshop.open(state)
    model = (ROOT / "tests" / "fixtures" / "mlp" / "model.onnx").read_bytes()
    source = write_directory(tmp_path / "mlp", {"config.pbtxt": MLP_CONFIG, "1/model.onnx": model})
    await shop.repository.publish(Publication("mlp", 1, source, "a test", "tests"))
    place: Any = Place()
    place.repository, place.workspaces = shop.repository, LocalWorkspaces(state)
    place.converter = ConverterRunner(ReadyEnvironment(PYTHON), tmp_path / "way", code)
    place.scratches = LocalScratchTritons(state, None, SystemClock())
    place.bench = hasty_bench
    return place


def hasty_bench(scratch: ScratchTriton, workload: Workload) -> Bench:
    """What is faster does not matter here."""
    return Bench(scratch, workload, Pace(settle_s=0.0, window_s=0.0))


async def test_a_destructive_recipe_is_rejected_by_the_floor_in_a_real_run(place: Any, tmp_path: Path) -> None:
    server = await place.open()
    job = await server.optimized(Level.BASIC)
    assert job.state is JobState.COMPLETED, job.failure
    (shuffled,) = (one for one in result(job)["recipes"] if one["name"] == "shuffled")
    accuracy = shuffled["metrics"]["accuracy"]
    assert accuracy < 0.9
    assert "speedup" not in shuffled["metrics"]
    assert recipes(job)["shuffled"] == ("rejected", f"accuracy: tensor_agreement is {accuracy:.4f}, below 0.99")
    assert recipes(job)["harmless"] == ("applied", None)
    assert result(job)["chosen_recipe"] in ("baseline", "harmless")
    assert leftovers(tmp_path / "state") == []
