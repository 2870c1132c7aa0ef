"""What a caller may ask of a generation: names, bounds and defaults of the request parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from triton_backends.runtime.parameters import InvalidParameter, boolean, integer, number, refuse_unknown

MAX_TOKENS = 4096
MAX_STOPS = 8
MAX_LOGPROBS = 20
MAX_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """The request parameters of one generation, checked.

    Units: `max_tokens` counts new tokens. `temperature` 0 is greedy. `seed` None draws one.
    """

    max_tokens: int = 100
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int = 0
    n: int = 1
    grammar: str | None = None
    stream: bool = True


def read_options(parameters: Mapping[str, Any]) -> GenerationOptions:
    """Raises: InvalidParameter for an unknown name or a value out of bounds; never clamps."""
    refuse_unknown(parameters, _READERS)
    return GenerationOptions(**{name: _READERS[name](name, value) for name, value in parameters.items()})


def _stop(name: str, value: Any) -> tuple[str, ...]:
    expected = f"a JSON list of at most {MAX_STOPS} non-empty strings"
    try:
        stops = json.loads(value)
    except (TypeError, ValueError):
        raise InvalidParameter(f'{name} must be {expected}, such as ["\\n"], got {value!r}') from None
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise InvalidParameter(f"{name} must be {expected}, got {value!r}")
    return tuple(stops)


def _grammar(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        raise InvalidParameter(f"{name} must be a string holding a JSON schema or a regular expression, got {value!r}")
    return value or None


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "max_tokens": integer(1, MAX_TOKENS),
    "temperature": number(0, 2),
    "top_p": number(0, 1, above_low=True),
    "top_k": integer(0),
    "seed": integer(-(2**63), 2**63 - 1),
    "stop": _stop,
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "logprobs": integer(0, MAX_LOGPROBS),
    "n": integer(1, MAX_CANDIDATES),
    "grammar": _grammar,
    "stream": boolean,
}
