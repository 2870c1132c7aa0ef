"""How a child of the converter ended, in the domain's words."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from control_plane.domain.errors import (
    DomainError,
    EngineFailed,
    InvalidRequest,
    Unavailable,
    Unsupported,
    UnsupportedFormat,
)
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description, ModelKind
from control_plane.domain.optimization import Accuracy
from control_plane.domain.tensors import Tensor, pack_flat
from control_plane.gateways.processes.children import Ended
from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.ports import CandidatePlan, Conversion, ConverterCatalog, LevelPlan, RecipeStatus
from converters.contract import (
    CandidateFact,
    Cataloged,
    Converted,
    Evaluated,
    Event,
    Facts,
    Failed,
    LevelFact,
    RecipeFact,
    Sampled,
)

_ERRORS: dict[str, type[DomainError]] = {
    error.code: error for error in (InvalidRequest, UnsupportedFormat, EngineFailed, Unavailable)
}
_OUT_OF_MEMORY = "it most likely needed more memory than there is"
_DEATHS = {
    signal.SIGKILL: f"it was killed; {_OUT_OF_MEMORY}",
    signal.SIGABRT: f"one of its libraries gave up (SIGABRT); {_OUT_OF_MEMORY}, or the model is malformed",
}


def conversion_of(ended: Ended, workspace: Path) -> Conversion:
    """What the last event of a child says. Raises the domain error that it is, or EngineFailed for none."""
    match ended:
        case Ended(Converted(directory, facts, record), 0):
            return Conversion(_inside(directory, workspace), _description(facts), record)
    _fail("conversion", ended, workspace)


def samples_of(ended: Ended, workspace: Path) -> list[tuple[Tensor, ...]]:
    """Raises as `conversion_of`."""
    match ended:
        case Ended(Sampled(file), 0):
            return _requests(_inside(file, workspace))
    _fail("sampling", ended, workspace)


def accuracy_of(ended: Ended, workspace: Path) -> Accuracy:
    """Raises as `conversion_of`."""
    match ended:
        case Ended(Evaluated(metric, value, samples, data, extra), 0) if 0 <= value <= 1:
            # What is no number, as the perplexity of a model that is sure of nonsense, is no JSON either.
            return Accuracy(metric, value, samples, data, {name: one for name, one in extra.items() if isfinite(one)})
        case Ended(Evaluated(metric, value), 0):
            raise EngineFailed(f"the evaluation answered with {metric} {value}, which is not in 0..1")
    _fail("evaluation", ended, workspace)


def catalog_of(answer: Event) -> ConverterCatalog:
    """Raises EngineFailed for another event."""
    match answer:
        case Cataloged(recipes, levels):
            return ConverterCatalog(tuple(_recipe(fact) for fact in recipes), tuple(_level(fact) for fact in levels))
        case Failed(message):
            raise EngineFailed(f"the catalog of conversions cannot be read: {message}")
    raise EngineFailed("the catalog of conversions cannot be read")


def _fail(name: str, ended: Ended, workspace: Path) -> NoReturn:
    if isinstance(ended.last, Failed):
        raise failure_of(ended.last, workspace)
    if ended.returncode < 0:
        number = signal.Signals(-ended.returncode)
        raise EngineFailed(f"the {name} broke off: {_DEATHS.get(number, f'it crashed ({number.name})')}")
    raise EngineFailed(f"the {name} ended with code {ended.returncode} and without an answer; its log says more")


def failure_of(failed: Failed, workspace: Path) -> DomainError:
    message = scrubbed(failed.message.replace(str(workspace), ""))
    details: JsonObject = {name: value for name, value in failed.details.items() if name not in ("message", "requires")}
    if failed.code == Unsupported.code:
        requires = failed.details.get("requires", "converter_environment")
        return Unsupported(message, requires=requires if isinstance(requires, list) else str(requires), **details)
    return _ERRORS.get(failed.code, EngineFailed)(message, **details)


def _inside(place: str, workspace: Path) -> Path:
    path = Path(place)
    if not path.resolve().is_relative_to(workspace.resolve()):
        raise EngineFailed("the conversion answered with a place outside its own folder")
    return path


def _requests(file: Path) -> list[tuple[Tensor, ...]]:
    try:
        document = json.loads(file.read_bytes())
        return [tuple(_tensor(entry) for entry in request) for request in document["requests"]]
    except (OSError, ValueError, KeyError, TypeError, InvalidRequest) as error:
        raise EngineFailed("the samples that were made cannot be read") from error


def _tensor(entry: dict[str, Any]) -> Tensor:
    return pack_flat(entry["name"], entry["datatype"], entry["shape"], entry["data"])


def _recipe(fact: RecipeFact) -> RecipeStatus:
    return RecipeStatus(fact.name, fact.summary, fact.available, fact.reason)


def _level(fact: LevelFact) -> LevelPlan:
    candidates = tuple(_candidate(one) for one in fact.candidates)
    return LevelPlan(fact.name, fact.summary, fact.min_accuracy, fact.candidates_max, candidates, fact.search)


def _candidate(fact: CandidateFact) -> CandidatePlan:
    steps: tuple[JsonObject, ...] = tuple(asdict(step) for step in fact.steps)
    return CandidatePlan(fact.name, fact.takes, fact.graph, steps, fact.settings, fact.reason)


def _description(facts: Facts) -> Description:
    try:
        kind = ModelKind(facts.kind)
    except ValueError as error:
        raise EngineFailed(f"the conversion made a model of the unknown kind {facts.kind!r}") from error
    return Description(
        kind=kind,
        tasks=facts.tasks,
        parameters=facts.parameters,
        dtype=facts.dtype,
        context_length=facts.context_length,
        labels=facts.labels,
    )
