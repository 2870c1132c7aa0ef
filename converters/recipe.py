"""What a recipe is: one conversion step with a name, what it takes and gives, and its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.contract import Facts, JsonObject
from converters.formats import Artifact, Format


class Refused(ValueError):
    """The source cannot be converted so; the message is one sentence that its owner can act on."""

    code = "INVALID_REQUEST"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details: JsonObject = details


class UnsupportedSource(Refused):
    """No recipe takes this kind of model."""

    code = "UNSUPPORTED_FORMAT"


class Lacking(Refused):
    """This machine or environment lacks what the recipe needs; `requires` names it."""

    code = "NOT_SUPPORTED_HERE"


class OutOfTolerance(Refused):
    """The result does not answer as its source does."""

    code = "PROCESSING_FAILED"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting of a recipe. `choices` empty: any value of the default's type."""

    default: Any
    summary: str
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a recipe: fill the empty folder `target` from `source`.

    `original` is what the whole conversion began with. `report` takes a fraction 0..1 of this step.
    """

    source: Artifact
    target: Path
    parameters: Mapping[str, Any]
    original: Artifact
    report: Callable[[float], None]
    calibration: Path | None = None
    inputs: tuple[Any, ...] = ()  # converters.contract.TensorFact, as the request gave them


def nothing_lacks() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Recipe:
    """`run` fills the target and says what was made; it may raise Refused. `lacks`: why it cannot run here, or None.

    `gives` maps each format it takes to the one it makes. Heavy libraries are imported inside `run` only: the catalog
    is read without them.
    """

    name: str
    summary: str
    gives: Mapping[Format, Format]
    run: Callable[[Step], Facts]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    lacks: Callable[[], str | None] = nothing_lacks

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, the given ones over the defaults. Raises Refused for an unknown one or a wrong value."""
        unknown = set(given) - set(self.parameters)
        if unknown:
            known = ", ".join(sorted(self.parameters)) or "none"
            raise Refused(f"recipe {self.name} has no parameter {min(unknown)!r}; it has: {known}")
        settled = {}
        for name, parameter in self.parameters.items():
            value = given.get(name, parameter.default)
            if parameter.choices and value not in parameter.choices:
                raise Refused(f"recipe {self.name}: {name} must be one of {list(parameter.choices)}, got {value!r}")
            if not parameter.choices and type(value) is not type(parameter.default):
                raise Refused(f"recipe {self.name}: {name} must be like {parameter.default!r}, got {value!r}")
            settled[name] = value
        return settled
