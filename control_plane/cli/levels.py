"""What can be tried on the server's machine, level by level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from control_plane.cli.console import print_table

if TYPE_CHECKING:
    from tritonplane_client.optimization_schemas import CatalogReply


def print_catalog(found: CatalogReply) -> None:
    """Levels, their candidates, then the recipes that those are made of."""
    levels, recipes = found["levels"], found["recipes"]
    print_table(
        ("LEVEL", "RUNS", "ACCURACY", "ADDS", "WHAT IT IS"),
        [
            (
                level["name"],
                _runs(available=level["available"]),
                level["min_accuracy"],
                len(level["candidates"]),
                _explained(level["summary"], level["reason"]),
            )
            for level in levels
        ],
    )
    typer.echo()
    print_table(
        ("CANDIDATE", "LEVEL", "RUNS", "FOR", "WHY NOT"),
        [
            (one["name"], level["name"], _runs(available=one["available"]), ", ".join(one["takes"]), one["reason"])
            for level in levels
            for one in level["candidates"]
        ],
    )
    typer.echo()
    print_table(
        ("RECIPE", "RUNS", "WHAT IT DOES"),
        [
            (one["name"], _runs(available=one["available"]), _explained(one["summary"], one["reason"]))
            for one in recipes
        ],
    )


def _runs(*, available: bool) -> str:
    return "yes" if available else "no"


def _explained(summary: str, reason: str | None) -> str:
    return f"{summary}; not here: {reason}" if reason else summary
