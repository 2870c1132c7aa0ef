"""A converter that makes what the test tells it to, step by step, without any child process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from control_plane.domain.errors import DomainError
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description
from control_plane.domain.optimization import Accuracy
from control_plane.domain.tensors import Tensor
from control_plane.ports import (
    CandidatePlan,
    Conversion,
    ConverterCatalog,
    LevelPlan,
    Progress,
    RecipeStatus,
    Report,
)

RECORD: JsonObject = {
    "steps": [{"recipe": "torch_to_onnx", "parameters": {}, "took_s": 0.5, "inputs": {}, "outputs": {}}],
    "checks": [{"name": "max_difference", "value": 1e-6, "limit": 1e-3, "samples": 8, "passed": True}],
    "tools": {"torch": "2.13.0"},
}
RECIPES = (
    RecipeStatus("torch_to_onnx", "A torch module to a graph", available=True, reason=None),
    RecipeStatus("onnx_to_tensorrt", "A graph to an engine", available=False, reason="it needs tensorrt"),
)
_THREADS = CandidatePlan("threads-1", ("onnx", "text_encoder"), "best", (), {"instance_count": 1}, None)
_ENGINE = CandidatePlan(
    "tensorrt-fp16", ("onnx",), "baseline", ({"recipe": "onnx_to_tensorrt", "parameters": {}},), {}, "requires_gpu"
)
LEVELS = (
    LevelPlan(
        "basic",
        "The graph in full precision",
        0.9999,
        1,
        (
            CandidatePlan(
                "onnx-basic", ("onnx",), "baseline", ({"recipe": "onnx_optimize", "parameters": {}},), {}, None
            ),
        ),
        {},
    ),
    LevelPlan("expert", "How ONNX Runtime runs it", None, 8, (_THREADS,), {}),
    LevelPlan("omnipotent", "TensorRT", 0.99, 8, (_ENGINE,), {}),
    LevelPlan("ultimate", "How Triton serves it", None, None, (), {"serving": {"rounds": 4}}),
)


class InMemoryConverter:
    """Writes `files` as the model directory of every conversion; where it `adds_steps`, the given graph with them.

    `failure` is what each conversion raises, `failures` those of all work in a folder of that name (which in an
    optimization is the candidate's), `slow_s` what everything takes. `levels` are what its catalog has. With a `gate`,
    a conversion waits for it half-way; `interrupted` counts those that were cancelled there. `preparation_failure` is
    what making the environment raises. `samples` and `accuracy` are what it gives when asked for them; `accuracies` has
    other values for candidates, by a folder on the way to them (which in an optimization has the candidate's name).
    """

    def __init__(self, files: dict[str, bytes] | None = None, description: Description | None = None) -> None:
        self.files = files or {"1/model.onnx": b"graph", "source/model.pt": b"module"}
        self.description = description or Description(dtype="float32", parameters=195)
        self.failure: DomainError | None = None
        self.failures: dict[str, DomainError] = {}
        self.slow_s, self.adds_steps = 0.0, False
        self.levels = LEVELS
        self.preparation_failure: DomainError | None = None
        self.gate: asyncio.Event | None = None
        self.half_way = asyncio.Event()
        self.requests: list[JsonObject] = []
        self.is_prepared = False
        self.interrupted = 0
        self.samples: Sequence[tuple[Tensor, ...]] = ()
        self.accuracy = Accuracy("mean_cosine", 1.0, 200, "what the test says")
        self.accuracies: dict[str, float] = {}
        self.evaluations: list[JsonObject] = []

    async def prepare(self, report: Report) -> None:
        if self.preparation_failure is not None:
            raise self.preparation_failure
        report(Progress(1.0, "the converter environment is there"))
        self.is_prepared = True

    async def convert(self, workspace: Path, request: JsonObject, report: Report) -> Conversion:
        self.requests.append(request)
        _keep(workspace, request)
        await asyncio.sleep(0)  # a child takes a moment before it says anything
        report(Progress(0.5, "converting"))
        self.half_way.set()
        try:
            await asyncio.sleep(self.slow_s)
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        failure = self.failures.get(workspace.name, self.failure)
        if failure is not None:
            raise failure
        model = self._write(workspace / "model", self._files(request))
        (workspace / "reproduce.sh").write_text(f"make {request['source']}")
        return Conversion(model, self.description, RECORD)

    async def sample(self, workspace: Path, request: JsonObject, report: Report) -> Sequence[tuple[Tensor, ...]]:
        await asyncio.sleep(self.slow_s)
        return self.samples

    async def evaluate(self, workspace: Path, request: JsonObject, report: Report) -> Accuracy:
        self.evaluations.append(request)
        await asyncio.sleep(self.slow_s)
        if workspace.name in self.failures:
            raise self.failures[workspace.name]
        values = [self.accuracies[part] for part in Path(str(request["candidate"])).parts if part in self.accuracies]
        return replace(self.accuracy, value=values[-1]) if values else self.accuracy

    async def catalog(self) -> ConverterCatalog:
        return ConverterCatalog(RECIPES, self.levels)

    def _files(self, request: JsonObject) -> dict[str, bytes]:
        """What steps make of a graph in one conversion is what they make of it in several."""
        graph, steps = Path(str(request["source"])) / "model.onnx", request.get("steps")
        if not self.adds_steps or not isinstance(steps, list) or not graph.is_file():
            return self.files
        return {"1/model.onnx": graph.read_bytes() + "".join(f"\n{json.dumps(step)}" for step in steps).encode()}

    def _write(self, model: Path, files: dict[str, bytes]) -> Path:
        for path, content in files.items():
            (model / path).parent.mkdir(parents=True, exist_ok=True)
            (model / path).write_bytes(content)
        return model


def _keep(workspace: Path, request: JsonObject) -> None:
    workspace.mkdir(parents=True, exist_ok=True)
    (workspace / "job.json").write_text(json.dumps(request))
