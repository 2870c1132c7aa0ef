"""All recipes, by name; read without importing torch or anything else that is heavy."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from converters import recipes
from converters.contract import RecipeFact
from converters.recipe import Recipe, Refused


@cache
def all_recipes() -> Mapping[str, Recipe]:
    """Every module of `converters.recipes` that has a RECIPE."""
    found = {}
    for module in pkgutil.iter_modules(recipes.__path__):
        recipe = getattr(importlib.import_module(f"converters.recipes.{module.name}"), "RECIPE", None)
        if recipe is not None:
            found[recipe.name] = recipe
    return found


def recipe_named(name: str) -> Recipe:
    """Raises Refused."""
    recipe = all_recipes().get(name)
    if recipe is None:
        raise Refused(f"no recipe named {name!r}", known=sorted(all_recipes()))
    return recipe


def recipe_facts() -> tuple[RecipeFact, ...]:
    return tuple(_fact(recipe) for _, recipe in sorted(all_recipes().items()))


def _fact(recipe: Recipe) -> RecipeFact:
    reason = recipe.lacks()
    return RecipeFact(recipe.name, recipe.summary, reason is None, reason)
