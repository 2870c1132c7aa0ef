"""A server that optimizes tiny models, and is killed while it does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from control_plane.gateways.triton import shared_memory
from tests.product import CONVERTER_PYTHON, ROOT, ServerProcess, lent_converter
from tests.survival.plane import Plane, close
from tests.survival.whole import faults_on_disk

WIDE, TEXT = "wide", "tiny-text"
OVER_WITHIN_S = 300


@dataclass(frozen=True)
class Optimizing:
    """Words for what tests ask of optimizations."""

    plane: Plane

    def submit(self, model: str, level: str, **parameters: Any) -> str:
        body = {"model_id": model, "optimization_level": level, "parameters": parameters}
        with self.plane.server.client() as http:
            reply = http.post("/optimize", json=body)
        assert reply.status_code == httpx.codes.OK, reply.text
        return str(reply.json()["optimization_id"])

    def get(self, path: str) -> Any:
        with self.plane.server.client() as http:
            return http.get(path).raise_for_status().json()

    def results(self, optimization_id: str) -> dict[str, Any]:
        """When it is over."""
        self.plane.ended(optimization_id)
        found: dict[str, Any] = self.get(f"/optimizations/{optimization_id}/results")
        return found

    def left(self) -> list[str]:
        """What no optimization may leave: half a revision, a workspace, a segment of a scratch Triton's."""
        state = self.plane.state
        return faults_on_disk(state) + [str(one) for one in shared_memory.segments(shared_memory.scratch_prefix(state))]


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that is mostly weights."""
    file = tmp_path_factory.mktemp("wide") / "wide.onnx"
    subprocess.run([CONVERTER_PYTHON, "-m", "tests.converters.make_wide_mlp", str(file)], check=True, cwd=ROOT)
    return file


@pytest.fixture(scope="module")
def optimizing(tmp_path_factory: pytest.TempPathFactory, wide: Path) -> Iterator[Optimizing]:
    folder = tmp_path_factory.mktemp("optimizing")
    root, state = folder / "root", folder / "state"
    shutil.copytree(ROOT / "tests" / "fixtures" / "tiny_text_model", root / TEXT)
    shutil.copy(wide, root)
    plane = Plane(ServerProcess(state, {"IMPORT_ROOT": str(root), **lent_converter(state)}))
    plane.start()
    with plane.server.client() as http:
        for name, path in ((WIDE, wide.name), (TEXT, TEXT)):
            http.post(f"/models/{name}/import", params={"file_path": path}).raise_for_status()
    yield Optimizing(plane)
    close(plane)
