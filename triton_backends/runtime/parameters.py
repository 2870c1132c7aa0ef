"""Reads typed values out of request parameters and model configurations, and says clearly what is wrong with one.

Triton carries parameters as bool, int64, string or double, and clients differ in which they send: `"0.7"` and `0.7`
are the same number here. Nothing is clamped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any


class InvalidParameter(ValueError):
    """A value the caller sent is unknown, of the wrong kind or out of bounds; the text says what would be right."""


def parse_parameters(text: str) -> dict[str, Any]:
    """The JSON object that `InferenceRequest.parameters()` gives (an empty text for none)."""
    return json.loads(text) if text else {}


def refuse_unknown(parameters: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InvalidParameter(f"unknown parameter {unknown[0]!r}; the parameters are {', '.join(sorted(known))}")


def boolean(name: str, value: Any) -> bool:
    named = {"true": True, "false": False, "1": True, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() in named:
        return named[str(value).lower()]
    raise InvalidParameter(f"{name} must be true or false, got {value!r}")


def integer(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    """A reader of whole numbers in low..high, both included."""
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"

    def read(name: str, value: Any) -> int:
        whole = _whole(value)
        if whole is None or whole < low or (high is not None and whole > high):
            raise InvalidParameter(f"{name} must be {expected}, got {value!r}")
        return whole

    return read


def number(low: float, high: float, *, above_low: bool = False) -> Callable[[str, Any], float]:
    """A reader of numbers in low..high, both included unless `above_low`."""
    expected = f"greater than {low:g} and at most {high:g}" if above_low else f"a number from {low:g} to {high:g}"

    def read(name: str, value: Any) -> float:
        real = _real(value)
        # A NaN fails every comparison, so it is refused here too.
        if real is None or not low <= real <= high or (above_low and real == low):
            raise InvalidParameter(f"{name} must be {expected}, got {value!r}")
        return real

    return read


def model_parameter(config: Mapping[str, Any], name: str, default: int, low: int = 0) -> int:
    """A whole number from the `parameters` of a model configuration."""
    entry = config.get("parameters", {}).get(name)
    return default if entry is None else integer(low)(f"model parameter {name}", entry["string_value"])


def model_flag(config: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """True or false from the `parameters` of a model configuration."""
    entry = config.get("parameters", {}).get(name)
    return default if entry is None else boolean(f"model parameter {name}", entry["string_value"])


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _real(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        real = float(value)
    except (TypeError, ValueError):
        return None
    return real if math.isfinite(real) else None
