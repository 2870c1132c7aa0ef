"""What an optimization begins with: the model in full precision, and what that was made of."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description, Revision, description_from_json
from control_plane.domain.optimization import OptimizationOptions
from control_plane.ports import Converter, ModelRepository, Report
from control_plane.services.catalog import Catalog

# The words of converters.contract.CandidateFact.takes for what a backend opens.
KINDS = {"onnxruntime": "onnx", "text_encoder": "text_encoder", "text_generation": "text_generation"}
VERSION, SOURCE = "1", "source"
SHIPPED_DATA = "evaluation.jsonl"  # inputs that nothing was trained or tuned on, in a model's own directory
_FULL_PRECISION = ("float32", "float64")
# Labels by which recipes say how they made a graph; one that is made anew of the source has none of them.
_HOW_MADE = frozenset(
    {"optimization", "fused", "arithmetic", "quantization", "weight_bits", "calibration_rows", "layers_kept", "kept"}
    | {"tries", "tuning_accuracy", "engine_library", "compute_capability", "engine_precision"}
)
_COPY, _MADE = "ground", "baseline"  # folders of the workspace


@dataclass(frozen=True, slots=True)
class Ground:
    """Folders are relative to the job's workspace.

    `folder`: a model directory, its graph in `1/`. `source`: what the graph can be made of anew, None where the
    revision carries nothing. `steps`: how the graph was made of that; empty where it is the revision's own.
    `data`: held-out inputs that the model brought along. `inputs`: what the model takes, which a TorchScript file as
    its source does not say itself.
    """

    revision: int
    kind: str
    folder: str
    source: str | None
    data: str | None
    steps: tuple[JsonObject, ...]
    description: Description
    inputs: tuple[JsonObject, ...] = ()

    @property
    def graph(self) -> str:
        return f"{self.folder}/{VERSION}"

    @property
    def caveat(self) -> str | None:
        """What whoever reads a comparison with it has to know; None where it is in full precision, or says nothing."""
        dtype = self.description.dtype
        is_full = dtype is None or dtype in _FULL_PRECISION
        return None if is_full else f"the baseline itself is in {dtype}, not in full precision"

    @property
    def origin(self) -> str:
        """What the graph and `steps` begin with."""
        return self.source if self.steps and self.source else self.graph


def ground_to_json(ground: Ground) -> JsonObject:
    return asdict(ground)


def ground_from_json(fields: Mapping[str, Any]) -> Ground:
    described = description_from_json(fields["description"])
    return Ground(
        **{**fields, "steps": tuple(fields["steps"]), "inputs": tuple(fields["inputs"]), "description": described}
    )


class Grounds:
    """Makes a Ground in a job's workspace."""

    def __init__(self, catalog: Catalog, repository: ModelRepository, converter: Converter) -> None:
        self._catalog, self._repository, self._converter = catalog, repository, converter

    async def make(
        self, name: str, number: int, options: OptimizationOptions, workspace: Path, report: Report
    ) -> Ground:
        """The named baseline as it is; else the revision, brought to full precision where it carries its source.

        Raises: InvalidRequest for a model that no level takes; what a conversion raises.
        """
        if options.baseline is not None:
            revision = self._catalog.resolve(options.baseline).revision
        else:
            revision = self._catalog.status(name, number).revision
        kind = kind_of(revision)
        files = {artifact.path for artifact in revision.artifacts}
        wanted = (f"{VERSION}/", f"{SOURCE}/", SHIPPED_DATA)
        places = {path: path for path in files if path.startswith(wanted)}
        await asyncio.to_thread(shutil.rmtree, workspace / _COPY, ignore_errors=True)
        await self._repository.copy(revision, places, workspace / _COPY)
        has_source = any(path.startswith(f"{SOURCE}/") for path in files)
        ground = Ground(
            revision.number,
            kind,
            _COPY,
            f"{_COPY}/{SOURCE}" if has_source else None,
            f"{_COPY}/{SHIPPED_DATA}" if SHIPPED_DATA in files else None,
            (),
            revision.description,
            tuple(asdict(spec) for spec in revision.signature.inputs) if kind == "onnx" else (),
        )
        is_full = options.baseline is not None or revision.description.dtype in _FULL_PRECISION
        return ground if is_full or not has_source else await self._converted(ground, workspace, report)

    async def _converted(self, ground: Ground, workspace: Path, report: Report) -> Ground:
        assert ground.source is not None
        request: JsonObject = {
            "source": str(workspace / ground.source),
            "precision": "fp32",
            "inputs": list(ground.inputs),
        }
        made = await self._converter.convert(workspace / _MADE, request, report)
        return replace(
            ground,
            folder=made.directory.relative_to(workspace).as_posix(),
            steps=steps_of(made.record),
            description=described(of_the_source(ground.description), made.description),
        )


def steps_of(record: JsonObject) -> tuple[JsonObject, ...]:
    """The steps of a conversion, as a request for the same conversion names them."""
    steps = record["steps"]
    assert isinstance(steps, list)
    return tuple({"recipe": step["recipe"], "parameters": step["parameters"]} for step in steps)


def of_the_source(description: Description) -> Description:
    """What was said of a model, without how its graph was made of its source."""
    labels = {name: text for name, text in description.labels.items() if name not in _HOW_MADE}
    return replace(description, labels=labels)


def described(base: Description, made: Description) -> Description:
    """What was said of a model, with what a conversion changed."""
    return replace(
        base,
        tasks=base.tasks or made.tasks,
        parameters=base.parameters if made.parameters is None else made.parameters,
        dtype=made.dtype or base.dtype,
        context_length=made.context_length or base.context_length,
        labels={**base.labels, **made.labels},
    )


def kind_of(revision: Revision) -> str:
    """What the levels know it by. Raises InvalidRequest for a model that none of them takes."""
    if revision.backend not in KINDS:
        raise InvalidRequest(
            f"a {revision.backend} model is not optimized: the levels take models of the backends {', '.join(KINDS)}",
            backend=revision.backend,
        )
    if f"{VERSION}/model.onnx" not in {artifact.path for artifact in revision.artifacts}:
        raise InvalidRequest(f"the revision has no {VERSION}/model.onnx, which every level begins with")
    return KINDS[revision.backend]
