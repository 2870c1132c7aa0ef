"""Requests and events as JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from converters.contract.events import (
    CandidateFact,
    Cataloged,
    Converted,
    Evaluated,
    Event,
    Facts,
    Failed,
    Inspected,
    LevelFact,
    Progressed,
    RecipeFact,
    Sampled,
)
from converters.contract.requests import (
    ConversionRequest,
    EvaluationRequest,
    JsonObject,
    SampleRequest,
    StepRequest,
    TensorFact,
)


class BrokenStream(ValueError):
    """A line of a child is none of the events above."""


def request_to_json(request: ConversionRequest) -> JsonObject:
    return asdict(request)


def request_from_json(fields: Any) -> ConversionRequest:
    """Raises BrokenStream for what is not a request."""
    try:
        given = dict(fields)
        steps = given.get("steps")
        given["inputs"] = tuple(_tensor(entry) for entry in given.get("inputs") or ())
        given["steps"] = None if steps is None else tuple(StepRequest(**entry) for entry in steps)
        return ConversionRequest(**given)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenStream(f"not a conversion request: {error}") from error


def sample_from_json(fields: Any) -> SampleRequest:
    """Raises BrokenStream for what is not a request."""
    try:
        return SampleRequest(**fields)
    except TypeError as error:
        raise BrokenStream(f"not a sample request: {error}") from error


def evaluation_from_json(fields: Any) -> EvaluationRequest:
    """Raises BrokenStream for what is not a request."""
    try:
        return EvaluationRequest(**fields)
    except TypeError as error:
        raise BrokenStream(f"not an evaluation request: {error}") from error


def to_line(event: Event) -> str:
    return json.dumps({"event": type(event).__name__.lower(), **asdict(event)})


def from_line(line: str) -> Event:
    """Raises BrokenStream."""
    try:
        fields = json.loads(line)
        name = fields.pop("event")
        if name not in _READERS:
            raise BrokenStream(f"unknown event {name!r}")
        return _READERS[name](fields)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BrokenStream(f"not an event: {line[:200]!r}") from error


def _inspected(fields: dict[str, Any]) -> Inspected:
    fields["inputs"] = tuple(_tensor(entry) for entry in fields["inputs"])
    fields["outputs"] = tuple(_tensor(entry) for entry in fields["outputs"])
    return Inspected(**fields)


def _level(entry: dict[str, Any]) -> LevelFact:
    return LevelFact(**{**entry, "candidates": tuple(_candidate(one) for one in entry["candidates"])})


def _candidate(entry: dict[str, Any]) -> CandidateFact:
    steps = tuple(StepRequest(**step) for step in entry["steps"])
    return CandidateFact(**{**entry, "takes": tuple(entry["takes"]), "steps": steps})


def _facts(fields: dict[str, Any]) -> Facts:
    return Facts(**{**fields, "tasks": tuple(fields["tasks"])})


def _tensor(entry: dict[str, Any]) -> TensorFact:
    return TensorFact(entry["name"], entry["datatype"], tuple(entry["shape"]))


def _converted(fields: dict[str, Any]) -> Converted:
    return Converted(fields["directory"], _facts(fields["facts"]), fields["record"])


def _cataloged(fields: dict[str, Any]) -> Cataloged:
    levels = tuple(_level(entry) for entry in fields["levels"])
    return Cataloged(tuple(RecipeFact(**entry) for entry in fields["recipes"]), levels)


_READERS: dict[str, Callable[[dict[str, Any]], Event]] = {
    "inspected": _inspected,
    "failed": lambda fields: Failed(**fields),
    "progressed": lambda fields: Progressed(**fields),
    "converted": _converted,
    "cataloged": _cataloged,
    "sampled": lambda fields: Sampled(**fields),
    "evaluated": lambda fields: Evaluated(**fields),
}
