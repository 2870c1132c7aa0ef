"""Between which sizes the free axes of an engine's inputs may lie, and for which it is made fastest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.contract import TensorFact
from converters.recipe import Refused

_SHAPE = r"\d+(?:x\d+)*"
_ENTRY = re.compile(rf"(?P<name>[^=;]+)=(?P<shapes>{_SHAPE}:{_SHAPE}:{_SHAPE})")
_HOW = "as in x=1x16:8x16:32x16 (minimum, optimum, maximum; several inputs: separated by ;)"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Minimum, optimum, maximum."""

    batch: tuple[int, int, int]
    axis: tuple[int, int, int]

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Sizes:
        """From batch_min, batch_opt, ... axis_max. Raises: Refused."""
        batch, axis = (
            tuple(parameters[f"{kind}_{end}"] for end in ("min", "opt", "max")) for kind in ("batch", "axis")
        )
        for kind, sizes in (("batch", batch), ("axis", axis)):
            if not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
                raise Refused(f"recipe onnx_to_tensorrt: 1 <= {kind}_min <= {kind}_opt <= {kind}_max, got {sizes}")
        return cls(batch, axis)


Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def profile(inputs: Sequence[TensorFact], sizes: Sizes, given: str) -> dict[str, Shapes]:
    """Three shapes for each input that has a free axis; `given` names those of single inputs. Raises: Refused."""
    named = _named(given)
    unknown = set(named) - {fact.name for fact in inputs}
    if unknown:
        raise Refused(f"the profile names {min(unknown)!r}; the inputs are {', '.join(fact.name for fact in inputs)}")
    return {
        fact.name: _checked(fact, named[fact.name]) if fact.name in named else _by_sizes(fact, sizes)
        for fact in inputs
        if -1 in fact.shape
    }


def _named(given: str) -> dict[str, Shapes]:
    found = {}
    for entry in filter(None, (part.strip() for part in given.split(";"))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise Refused(f"the profile {entry!r} cannot be read: write it {_HOW}")
        first, second, third = (tuple(int(size) for size in text.split("x")) for text in match["shapes"].split(":"))
        found[match["name"].strip()] = (first, second, third)
    return found


def _checked(fact: TensorFact, shapes: Shapes) -> Shapes:
    for shape in shapes:
        if len(shape) != len(fact.shape) or any(a not in (-1, b) for a, b in zip(fact.shape, shape, strict=True)):
            raise Refused(f"the profile of {fact.name} has the shape {list(shape)}; its own is {list(fact.shape)}")
    for least, best, most in zip(*shapes, strict=True):
        if not 1 <= least <= best <= most:
            raise Refused(f"the profile of {fact.name} must grow from minimum to maximum, write it {_HOW}")
    return shapes


def _by_sizes(fact: TensorFact, sizes: Sizes) -> Shapes:
    def at(end: int) -> tuple[int, ...]:
        return tuple(
            size if size >= 0 else (sizes.batch if position == 0 else sizes.axis)[end]
            for position, size in enumerate(fact.shape)
        )

    return at(0), at(1), at(2)
