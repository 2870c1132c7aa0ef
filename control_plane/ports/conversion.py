"""Conversions, and how far a piece of work is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description
from control_plane.domain.optimization import Accuracy
from control_plane.domain.tensors import Tensor


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is: `fraction` 0..1 of all of it, and what it is at in words."""

    fraction: float
    message: str


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class RecipeStatus:
    """A conversion step of the catalog. `reason`: why it cannot run on this machine."""

    name: str
    summary: str
    available: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class CandidatePlan:
    """One way to a better model that an optimization may try; see converters.contract.CandidateFact.

    `steps`: `{recipe, parameters}` each. `settings`: fields of LoadOptions.
    """

    name: str
    takes: tuple[str, ...]
    graph: str
    steps: tuple[JsonObject, ...]
    settings: JsonObject
    reason: str | None


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """What an optimization level adds to the one before; see converters.contract.LevelFact."""

    name: str
    summary: str
    min_accuracy: float | None
    candidates_max: int | None
    candidates: tuple[CandidatePlan, ...]
    search: JsonObject


@dataclass(frozen=True, slots=True)
class ConverterCatalog:
    """`levels`: from the lowest to the highest."""

    recipes: tuple[RecipeStatus, ...]
    levels: tuple[LevelPlan, ...]


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion made: a Triton model directory without its configuration, and how it was made.

    `record` (steps with parameters and digests, checks with values and limits, tool versions) goes into the manifest.
    """

    directory: Path
    description: Description
    record: JsonObject


class Converter(Protocol):
    """Runs conversions in child processes of the converter environment, which is made on first need.

    Raises: InvalidRequest, UnsupportedFormat for a source that cannot be converted, in one sentence;
    Unsupported when the environment cannot be made or the machine lacks something; EngineFailed.
    """

    async def prepare(self, report: Report) -> None:
        """Make the environment if it is not there yet."""

    async def convert(self, workspace: Path, request: JsonObject, report: Report) -> Conversion:
        """Run the conversion `request` (converters.contract.ConversionRequest as JSON) in a workspace.

        Interrupted, it leaves no child behind; called again, it goes on after the last finished step.
        """

    async def sample(self, workspace: Path, request: JsonObject, report: Report) -> Sequence[tuple[Tensor, ...]]:
        """Requests to measure a model with (`request`: converters.contract.SampleRequest as JSON)."""

    async def evaluate(self, workspace: Path, request: JsonObject, report: Report) -> Accuracy:
        """How alike two models answer (`request`: converters.contract.EvaluationRequest as JSON)."""

    async def catalog(self) -> ConverterCatalog: ...
