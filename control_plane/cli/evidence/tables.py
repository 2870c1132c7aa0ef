"""The findings of an optimization on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from control_plane.cli.console import note, print_table, visible
from control_plane.cli.evidence.findings import (
    Finding,
    figures,
    findings_of,
    pareto_of,
    verdict,
    whereabouts,
)

if TYPE_CHECKING:
    from tritonplane_client.optimization_schemas import Evidence

HEADINGS = (
    "RECIPE", "LEVEL", "STATUS", "SPEEDUP", "95 % INTERVAL", "THROUGHPUT", "MEMORY", "SIZE", "ACCURACY", "REASON"
)  # fmt: skip
CHOSEN = "* "


def print_findings(evidence: Evidence) -> None:
    """The table and the verdict on stdout, hints on stderr."""
    print_table(HEADINGS, [_row(finding) for finding in findings_of(evidence)])
    headings, front = pareto_of(evidence)
    if front:
        typer.echo()
        print_table([heading.upper() for heading in headings], front)
    typer.echo()
    typer.echo(visible(verdict(evidence)))
    for sentence in whereabouts(evidence):
        note(visible(sentence))


def _row(finding: Finding) -> tuple[object, ...]:
    return (
        (CHOSEN if finding.is_chosen else " " * len(CHOSEN)) + finding.name,
        finding.level,
        finding.status,
        *figures(finding),
        finding.reason,
    )
