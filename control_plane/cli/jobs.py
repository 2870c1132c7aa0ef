"""`tritonplane jobs`: long work, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.console import (
    print_fields,
    print_json,
    print_json_line,
    print_table,
    print_text,
    side_console,
    time,
)
from control_plane.cli.remote import Remote, with_server
from control_plane.cli.watching import follow_job, require_completed, watch_job

if TYPE_CHECKING:
    from tritonplane_client.job_schemas import Job

app = typer.Typer(no_args_is_help=True, help="List, watch and cancel jobs, and read their logs.")
SHOWN = 60
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="As `jobs list` shows it.", show_default=False)]


@app.command("list")
@with_server
def list_jobs(
    remote: Remote,
    kind: Annotated[str | None, typer.Option(help="import, export, configure or optimize.")] = None,
    model: Annotated[str | None, typer.Option(help="Those that work on this model.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="queued, running, completed, failed or cancelled; may be given several times."),
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 50,
) -> None:
    """List jobs, newest first."""
    with remote.connect() as server:
        found = server.list_jobs(kind=kind, model=model, state=state, limit=limit)
    if remote.as_json:
        print_json(found)
        return
    headings = ("ID", "KIND", "MODEL", "STATE", "PROGRESS", "AT", "CREATED", "BY")
    print_table(headings, [_row(job) for job in found])


@app.command("show")
@with_server
def show(remote: Remote, job_id: JobId) -> None:
    """Show everything that is known of a job."""
    with remote.connect() as server:
        found = server.get_job(job_id)
    if remote.as_json:
        print_json(found)
        return
    times = {name: time(found[name]) for name in ("created_at", "started_at", "finished_at")}
    told = {"progress": _percent(found), "error": _error(found), **times}
    print_fields([(name, told.get(name, value)) for name, value in found.items()])


@app.command("watch")
@with_server
def watch(remote: Remote, job_id: JobId) -> None:
    """Follow a job to its end; the exit code is 1 where it fails. Ctrl-C leaves it running.

    With --json each event is a line of JSON.
    """
    with remote.connect() as server:
        if remote.as_json:
            watch_job(server, job_id, print_json_line)
            job = server.get_job(job_id)
        else:
            job = follow_job(server, job_id)
    require_completed(job)
    if not remote.as_json:
        typer.echo(f"completed {job['kind']} of {job['model']}")


@app.command("cancel")
@with_server
def cancel(remote: Remote, job_id: JobId) -> None:
    """End a job, and return when nothing of its work is left."""
    with remote.connect() as server, side_console().status("cancelling"):
        found = server.cancel_job(job_id)
    if remote.as_json:
        print_json(found)
    else:
        typer.echo(f"cancelled {job_id}")


@app.command("log")
@with_server
def log(
    remote: Remote,
    job_id: JobId,
    lines: Annotated[int | None, typer.Option(help="The last so many; 1000 unless said.", min=1, max=10_000)] = None,
) -> None:
    """Print what the processes of a job wrote."""
    with remote.connect() as server:
        text = server.job_log(job_id, lines)
    if remote.as_json:
        print_json({"id": job_id, "log": text})
    else:
        print_text(text)


def _row(job: Job) -> tuple[object, ...]:
    doing = _shortened(job["step"] or _error(job))
    times = (time(job["created_at"]), job["created_by"])
    return (job["id"], job["kind"], job["model"], job["state"], _percent(job), doing, *times)


def _shortened(text: str | None) -> str | None:
    """A list has a line for each; `jobs show` has all of it."""
    return text if text is None or len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _percent(job: Job) -> str:
    return f"{job['progress']:.0f}%"


def _error(job: Job) -> str | None:
    error = job["error"]
    return error and f"{error['message']} ({error['code']})"
