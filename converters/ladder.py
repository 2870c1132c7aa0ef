"""The optimization levels, from the files in `levels/`: what each adds to the one before it (contract 2.6).

A file is checked whole: a recipe or parameter that does not exist is found when it is read, not when it is tried.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.catalog import recipe_facts, recipe_named
from converters.contract import CandidateFact, Cataloged, LevelFact, StepRequest
from converters.formats import GRAPHS, Format
from converters.recipe import Recipe
from converters.tensorrt.library import has_gpu

NAMES = (
    *("basic", "advanced", "expert", "master", "legendary", "transcendent"),
    *("divine", "omnipotent", "infinite", "ultimate", "absolute", "perfect"),
)
BEGINNINGS = ("baseline", "source", "best")
FOLDER = Path(__file__).parent / "levels"
_NEEDS_GPU = "requires_gpu: an engine of TensorRT runs on an NVIDIA GPU, and there is none here"
# What each table must have, and what it may have.
_LEVEL = ({"name", "summary"}, {"min_accuracy", "candidates_max", "candidates", "search"})
_CANDIDATE = ({"name", "takes"}, {"graph", "steps", "settings"})
_STEP = ({"recipe"}, {"parameters"})
_SEARCH: tuple[set[str], set[str]] = (set(), {"serving", "joint", "proof"})


class BrokenLevel(ValueError):
    """A level's file says what cannot be; the message names it."""


def catalog() -> Cataloged:
    """Raises BrokenLevel."""
    return Cataloged(recipe_facts(), levels())


def levels(folder: Path = FOLDER) -> tuple[LevelFact, ...]:
    """From the lowest to the highest. Raises BrokenLevel."""
    found = tuple(_read(file) for file in sorted(folder.glob("*.toml")))
    names = [level.name for level in found]
    if names != [name for name in NAMES if name in names]:
        raise BrokenLevel(f"the levels are {', '.join(names)}; they must be of and in the order {', '.join(NAMES)}")
    counts = Counter(candidate.name for level in found for candidate in level.candidates)
    for name, count in counts.items():
        if count > 1:
            raise BrokenLevel(f"{count} candidates are named {name!r}; a name is for one")
    return found


def _read(file: Path) -> LevelFact:
    try:
        return _level(tomllib.loads(file.read_text("utf-8")))
    except (TypeError, ValueError) as error:
        raise BrokenLevel(f"levels/{file.name}: {error}") from error


def _level(table: Mapping[str, Any]) -> LevelFact:
    _require_keys(table, _LEVEL, "a level")
    level = LevelFact(
        table["name"],
        table["summary"],
        table.get("min_accuracy"),
        table.get("candidates_max"),
        tuple(_candidate(entry) for entry in table.get("candidates", ())),
        table.get("search", {}),
    )
    if level.min_accuracy is not None and not 0 <= level.min_accuracy <= 1:
        raise BrokenLevel(f"min_accuracy must be in 0..1, got {level.min_accuracy}")
    _require_keys(level.search, _SEARCH, "search")
    # A model is of one format: what others take is not tried of it.
    most = max((sum(form in one.takes for one in level.candidates) for form in GRAPHS), default=0)
    if level.candidates_max is not None and most > level.candidates_max:
        raise BrokenLevel(f"{most} candidates fit one format; at most {level.candidates_max} are allowed")
    return level


def _candidate(table: Mapping[str, Any]) -> CandidateFact:
    try:
        _require_keys(table, _CANDIDATE, "a candidate")
        steps = tuple(_step(entry) for entry in table.get("steps", ()))
        recipes = [recipe_named(step.recipe) for step in steps]
        takes, graph = tuple(table["takes"]), table.get("graph", BEGINNINGS[0])
        if graph not in BEGINNINGS:
            raise BrokenLevel(f"graph must be one of {', '.join(BEGINNINGS)}, got {graph!r}")
        for form in takes:
            _require_path(form, recipes, is_graph=graph != "source")
        return CandidateFact(table["name"], takes, graph, steps, table.get("settings", {}), _reason(recipes))
    except (TypeError, ValueError) as error:
        raise BrokenLevel(f"candidate {table.get('name')!r}: {error}") from error


def _step(table: Mapping[str, Any]) -> StepRequest:
    _require_keys(table, _STEP, "a step")
    step = StepRequest(table["recipe"], table.get("parameters", {}))
    recipe_named(step.recipe).settle(step.parameters)
    return step


def _require_path(form: str, recipes: Sequence[Recipe], *, is_graph: bool) -> None:
    """Each recipe takes what the one before it gives; of a source, only what comes after the first is known."""
    if form not in GRAPHS:
        raise BrokenLevel(f"takes must be of {', '.join(sorted(GRAPHS))}, got {form!r}")
    taken = {Format(form)} if is_graph else set(Format)
    for recipe in recipes:
        taken = {recipe.gives[one] for one in taken if one in recipe.gives}
        if not taken:
            raise BrokenLevel(f"recipe {recipe.name} does not take what is there of a {form} model")


def _reason(recipes: Sequence[Recipe]) -> str | None:
    for recipe in recipes:
        if Format.TENSORRT in recipe.gives.values() and not has_gpu():
            return _NEEDS_GPU
        if (lacking := recipe.lacks()) is not None:
            return lacking
    return None


def _require_keys(table: Mapping[str, Any], keys: tuple[set[str], set[str]], what: str) -> None:
    needed, allowed = keys
    for name in sorted(needed - set(table)):
        raise BrokenLevel(f"{what} needs a {name!r}")
    for name in sorted(set(table) - needed - allowed):
        raise BrokenLevel(f"{what} has no {name!r}; it has: {', '.join(sorted(needed | allowed))}")
