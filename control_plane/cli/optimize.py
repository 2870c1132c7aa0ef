"""`tritonplane optimize`: a faster or smaller form of a model, measured beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tritonplane_client as client
import typer

from control_plane.cli.console import note, print_fields, print_json, print_table, side_console, time
from control_plane.cli.evidence.tables import print_findings
from control_plane.cli.failures import REFUSED, complain
from control_plane.cli.levels import print_catalog
from control_plane.cli.remote import Remote, with_server
from control_plane.cli.watching import follow_job, require_completed

if TYPE_CHECKING:
    from tritonplane_client import ApiClient
    from tritonplane_client.optimization_schemas import (
        Evidence,
        OptimizationParameters,
        OptimizationStatus,
    )

app = typer.Typer(no_args_is_help=True, help="Find a faster or smaller form of a model, and see what was measured.")
SHOWN = 70

Model = Annotated[str, typer.Argument(help="A model: NAME, NAME:REVISION or NAME@ALIAS.", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="OPTIMIZATION_ID", help="As `optimize list` shows it.", show_default=False)]
LevelName = Annotated[str, typer.Option(help="How much is tried, basic to perfect; see `optimize levels`.")]
Objective = Annotated[str | None, typer.Option(help="latency, throughput or memory; by default latency.")]
MinAccuracy = Annotated[float | None, typer.Option(help="The lowest accuracy, 0 to 1; by default the level's.")]
TimeBudget = Annotated[float | None, typer.Option(help="Seconds; nothing more is begun then. By default 300.")]
BatchSize = Annotated[int | None, typer.Option(help="Rows of a request that is measured; by default 1.")]
SequenceLength = Annotated[int | None, typer.Option(help="Tokens of a request that is measured; by default 32.")]
EvalData = Annotated[str | None, typer.Option(help="Held-out inputs: a file below the server's import root.")]
Recipes = Annotated[list[str] | None, typer.Option("--recipe", help="Only this one; may be given several times.")]
DeployAs = Annotated[str | None, typer.Option(help="What to do with the winner: none, load (the default) or promote.")]
Slo = Annotated[float | None, typer.Option("--slo-p99-ms", help="The p99 that a search of servings must keep.")]
Baseline = Annotated[str | None, typer.Option(help="Compare with this revision, not with full precision.")]
Detach = Annotated[bool, typer.Option("--detach", help="Print the id and leave; the job goes on.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write a page with plots to this file.")]


@app.command("run")
@with_server
def run(  # noqa: PLR0913 - typer reads a command's options from its parameters
    remote: Remote,
    model: Model,
    *,
    level: LevelName = "master",
    objective: Objective = None,
    min_accuracy: MinAccuracy = None,
    time_budget: TimeBudget = None,
    batch_size: BatchSize = None,
    sequence_length: SequenceLength = None,
    eval_data: EvalData = None,
    recipe: Recipes = None,
    deploy: DeployAs = None,
    slo_p99_ms: Slo = None,
    baseline: Baseline = None,
    detach: Detach = False,
) -> None:
    """Try what a level has, measure each beside the model in full precision, and publish the winner as a revision.

    Ctrl-C leaves the job running. The exit code is 0 also where the baseline wins: that is a result.
    """
    wanted: Mapping[str, object] = {
        "objective": objective,
        "min_accuracy": min_accuracy,
        "time_budget_seconds": time_budget,
        "batch_size": batch_size,
        "sequence_length": sequence_length,
        "eval_data": eval_data,
        "recipes": recipe or None,
        "deploy": deploy,
        "slo_p99_ms": slo_p99_ms,
        "baseline": baseline,
    }
    parameters: OptimizationParameters = {}
    parameters.update({name: value for name, value in wanted.items() if value is not None})  # type: ignore[typeddict-item]
    with remote.connect() as server:
        asked = server.optimize(model, level, **parameters)
        optimization_id = asked["optimization_id"]
        if detach:
            _left(remote, optimization_id)
            return
        _followed(remote, server, optimization_id)


def _left(remote: Remote, optimization_id: str) -> None:
    if remote.as_json:
        print_json({"optimization_id": optimization_id})
        return
    typer.echo(optimization_id)
    note(f"`tritonplane jobs watch {optimization_id}` watches it, `tritonplane jobs cancel {optimization_id}` ends it")


def _followed(remote: Remote, server: ApiClient, optimization_id: str) -> None:
    """To its end, then what `show` shows."""
    if not remote.as_json:
        note(f"optimization {optimization_id}")
    job = follow_job(server, optimization_id)
    if remote.as_json:
        print_json(server.optimization_results(optimization_id))
        require_completed(job)
        return
    require_completed(job)
    print_findings(_told(server, optimization_id))
    note(f"`tritonplane optimize show {optimization_id} --html FILE` writes this as a page with plots")


@app.command("show")
@with_server
def show(remote: Remote, optimization_id: Id, html: Html = None) -> None:
    """Show what was tried, what was measured, and which won; before the end, how far it is.

    With --json what the server's results say; the evidence with all raw samples is at /optimize/ID/evidence.
    """
    with remote.connect() as server:
        if remote.as_json:
            print_json(server.optimization_results(optimization_id))
            if html is None:
                return
        status = server.optimization(optimization_id)
        evidence = _evidence(server, status)
    if html is not None:
        _write_page(html, evidence, status)
    if remote.as_json:
        return
    if evidence is None:
        print_fields(_status_fields(status))
    else:
        print_findings(evidence)


@app.command("list")
@with_server
def list_optimizations(
    remote: Remote,
    level: Annotated[str | None, typer.Option(help="Those of this level.")] = None,
    status: Annotated[str | None, typer.Option(help="running, completed, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 50,
) -> None:
    """List optimizations, newest first."""
    with remote.connect() as server:
        found = server.optimizations(level=level, status=status, limit=limit)
    if remote.as_json:
        print_json(found)
        return
    headings = ("ID", "MODEL", "LEVEL", "STATE", "PROGRESS", "SPEEDUP", "MADE", "AT", "CREATED")
    print_table(headings, [_row(one) for one in found])


@app.command("cancel")
@with_server
def cancel(remote: Remote, optimization_id: Id) -> None:
    """End an optimization, and return when nothing of its work is left."""
    with remote.connect() as server, side_console().status("cancelling"):
        found = server.cancel_optimization(optimization_id)
    if remote.as_json:
        print_json(found)
    else:
        typer.echo(f"cancelled {optimization_id}")


@app.command("levels")
@with_server
def levels(remote: Remote) -> None:
    """Show which levels and recipes can run where the server is, and why others cannot."""
    with remote.connect() as server, side_console().status("asking what can run there"):
        found = server.catalog()
    if remote.as_json:
        print_json(found)
    else:
        print_catalog(found)


def _evidence(server: ApiClient, status: OptimizationStatus) -> Evidence | None:
    """None where it did not complete, and so measured nothing that would be kept."""
    if status["status"] != "completed":
        return None
    return _told(server, status["optimization_id"])


def _told(server: ApiClient, optimization_id: str) -> Evidence:
    """Its evidence, which is older than what was done with the new revision; that is told by the results."""
    evidence = server.optimization_evidence(optimization_id)
    evidence["result"]["deployment"] = server.optimization_results(optimization_id).get("deployment")
    return evidence


def _write_page(path: Path, evidence: Evidence | None, status: OptimizationStatus) -> None:
    if evidence is None:
        complain(f"there is nothing to plot: the optimization is {status['state']}")
        raise typer.Exit(REFUSED)
    # Only this command needs it.
    from control_plane.cli.evidence.page import page  # noqa: PLC0415

    try:
        path.write_text(page(evidence, status), encoding="utf-8")
    except OSError as error:
        raise client.InvalidArgument(f"{path} cannot be written: {error.strerror}") from error
    note(f"wrote {path}")


def _row(one: OptimizationStatus) -> tuple[object, ...]:
    speedup = one["performance_metrics"].get("speedup")
    doing = one["current_step"] or one["error_message"]
    return (
        one["optimization_id"],
        one["model_id"],
        one["optimization_level"],
        one["state"],
        f"{one['progress']:.0f}%",
        None if speedup is None else f"{speedup:.2f}x",
        one["optimized_model_id"],
        doing if doing is None or len(doing) <= SHOWN else f"{doing[: SHOWN - 1]}…",
        time(one["created_at"]),
    )


def _status_fields(status: OptimizationStatus) -> list[tuple[str, object]]:
    told = {
        "progress": f"{status['progress']:.0f}%",
        **{name: time(status[name]) for name in ("created_at", "started_at", "completed_at")},
    }
    return [(name, told.get(name, value)) for name, value in status.items() if name != "performance_metrics"]
