"""Which layers a quantizer should leave alone: as few as keep an accuracy, found in a bounded number of tries.

Each layer of a small graph is tried by itself. Layers of a larger one are tried in groups, by what they are (their
names without numbers) and by where they are: a layer is as suspect as both of its groups together. Then the most
suspect are kept, as few as will do, by halving.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Names = tuple[str, ...]
_ROWS_MIN = 2  # groups that are left for where a layer is
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a quantized graph answers beside its source: `accuracy` as contract 0.4 has it for the format.

    `damage` is finer than that: ||c - b|| / ||b|| over all answers.
    """

    accuracy: float
    damage: float


@dataclass(frozen=True, slots=True)
class Found:
    """`kept` from the most to the least sensitive. `cost` None: no choice of at most all layers but one is enough."""

    kept: Names
    cost: Cost | None
    tries: int


class Search:
    """`measure` says what it costs to quantize all layers but those that it is given."""

    def __init__(self, layers: Sequence[str], measure: Callable[[Names], Cost], target: float, tries_max: int) -> None:
        self._layers, self._measure, self._target, self._tries_max = tuple(layers), measure, target, tries_max
        self._tries = 0

    def run(self) -> Found:
        cost = self._cost(())
        if cost.accuracy >= self._target:
            return Found((), cost, self._tries)
        ranked = self._ranked()
        fewest, enough, best = 1, len(ranked), None
        while fewest < enough and self._tries < self._tries_max:
            count = (fewest + enough) // 2
            cost = self._cost(ranked[:count])
            if cost.accuracy >= self._target:
                enough, best = count, cost
            else:
                fewest = count + 1
        return Found(ranked[:enough] if best else (), best, self._tries)

    def _cost(self, kept: Names) -> Cost:
        self._tries += 1
        return self._measure(kept)

    def _ranked(self) -> Names:
        halvings = math.ceil(math.log2(len(self._layers) + 1))
        groupings = groups(self._layers, self._tries_max - self._tries - halvings)
        suspicion = {name: 1.0 for name in self._layers}
        for grouping in groupings:
            for name, damage in self._damages(grouping).items():
                suspicion[name] *= damage
        # Equal ones stay in the graph's order.
        return tuple(sorted(self._layers, key=lambda name: -suspicion[name]))

    def _damages(self, grouping: Sequence[Names]) -> Mapping[str, float]:
        damages: dict[str, float] = {}
        for group in grouping:
            damage = self._cost(tuple(name for name in self._layers if name not in group)).damage
            damages |= {name: damage for name in group}
        return damages


def groups(layers: Names, tries: int) -> list[list[Names]]:
    """One or two ways to part the layers, of at most `tries` groups together."""
    if len(layers) <= tries:
        return [[(name,) for name in layers]]
    kinds: dict[str, list[str]] = {}
    for name in layers:
        kinds.setdefault(_DIGITS.sub("#", name), []).append(name)
    if not 1 < len(kinds) <= tries - _ROWS_MIN:
        # The names tell nothing: a square.
        side = max(1, min(tries // 2, math.isqrt(len(layers))))
        kinds = {str(place): list(layers[place::side]) for place in range(side)}
    columns = [tuple(names) for names in kinds.values()]
    deepest, rows_max = max(map(len, columns)), max(1, tries - len(columns))
    height = -(-deepest // rows_max)
    rows = [
        tuple(name for column in columns for name in column[begin : begin + height])
        for begin in range(0, deepest, height)
    ]
    return [columns, rows]
