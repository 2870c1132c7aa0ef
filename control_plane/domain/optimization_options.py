"""What a caller may say of an optimization, read from the words of the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

from control_plane.domain.errors import InvalidRequest, Unsupported
from control_plane.domain.optimization import Deploy, Level, Objective, OptimizationOptions

# Accepted because our user's documents send it; no recipe trains anything.
_IGNORED = frozenset({"learning_rate"})
_BATCH_MAX, _LENGTH_MAX, _BUDGET_MAX_S = 256, 4096, 24 * 3600
# Rows times tokens of one request: with more the activations of a small encoder fill a machine's memory.
_TOKENS_MAX = 2**16
_NAMES_MAX, _TEXT_MAX = 100, 4096
_Choice = TypeVar("_Choice", bound=StrEnum)


def parse_level(text: str) -> Level:
    """Raises InvalidRequest."""
    return _choice(Level, "optimization_level", text)


def parse_options(level: str, parameters: Mapping[str, object]) -> tuple[OptimizationOptions, tuple[str, ...]]:
    """The options, and the names of parameters that are accepted and change nothing; a value may be its text.

    Raises: InvalidRequest for an unknown level, key or value; Unsupported for a way of deployment that is not there.
    """
    unknown = sorted(set(parameters) - set(_READERS) - _IGNORED)
    if unknown:
        known = ", ".join(sorted(_READERS))
        raise InvalidRequest(f"unknown parameter {unknown[0][:100]!r}; the parameters are {known}", field="parameters")
    fields = {
        _READERS[name][0]: _READERS[name][1](name, value) for name, value in parameters.items() if name in _READERS
    }
    options = OptimizationOptions(parse_level(level), **fields)  # type: ignore[arg-type]  # each reader gives its type
    if options.deploy is Deploy.CANARY:
        raise Unsupported("canary deployment needs rollouts; deploy with load or promote", requires="rollouts")
    if options.batch_size * options.sequence_length > _TOKENS_MAX:
        asked = f"{options.batch_size} x {options.sequence_length}"
        raise InvalidRequest(
            f"batch_size x sequence_length may be up to {_TOKENS_MAX}, got {asked}", field="parameters"
        )
    return options, tuple(sorted(_IGNORED & set(parameters)))


def _choice(kind: type[_Choice], name: str, value: object) -> _Choice:
    try:
        return kind(str(value))
    except ValueError as error:
        known = ", ".join(one.value for one in kind)
        raise InvalidRequest(f"{name} must be one of {known}; got {_shown(value)}", field=name) from error


def _number(low: float, high: float) -> Callable[[str, object], float]:
    def read(name: str, value: object) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(str(value))
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise InvalidRequest(f"{name} must be a number from {low:g} to {high:g}, got {_shown(value)}", field=name)
        return number

    return read


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    def read(name: str, value: object) -> int:
        number = _number(low, high)(name, value)
        if not number.is_integer():
            raise InvalidRequest(f"{name} must be a whole number from {low} to {high}, got {number:g}", field=name)
        return int(number)

    return read


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _TEXT_MAX:
        raise InvalidRequest(f"{name} must be a text of up to {_TEXT_MAX} characters, got {_shown(value)}", field=name)
    return value


def _names(name: str, value: object) -> tuple[str, ...]:
    """A list, or as text: JSON, or names with commas between them; each name counts once."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [part.strip() for part in str(value).split(",")]
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise InvalidRequest(f"{name} must be a list of recipe names", field=name)
    names = tuple(dict.fromkeys(value))
    if len(names) > _NAMES_MAX:
        raise InvalidRequest(f"{name} may hold up to {_NAMES_MAX} names, got {len(names)}", field=name)
    return names


def _shown(value: object) -> str:
    """The beginning of what was sent. A whole number of thousands of digits has no text."""
    try:
        return repr(value)[:100]
    except ValueError:
        return "a value that is too long to show"


# By the wire's name: the field of OptimizationOptions, and how its value is read.
_READERS: dict[str, tuple[str, Callable[[str, object], object]]] = {
    "min_accuracy": ("min_accuracy", _number(0, 1)),
    "time_budget_seconds": ("time_budget_s", _number(1, _BUDGET_MAX_S)),
    "objective": ("objective", lambda name, value: _choice(Objective, name, value)),
    "eval_data": ("eval_data", _text),
    "batch_size": ("batch_size", _whole(1, _BATCH_MAX)),
    "sequence_length": ("sequence_length", _whole(1, _LENGTH_MAX)),
    "recipes": ("recipes", _names),
    "deploy": ("deploy", lambda name, value: _choice(Deploy, name, value)),
    "slo_p99_ms": ("slo_p99_ms", _number(0.001, 3_600_000)),
    "baseline": ("baseline", _text),
}
