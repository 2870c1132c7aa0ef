"""How far a job is: a bar on a terminal, lines elsewhere; for every command that waits for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from control_plane.cli.console import note, side_console, visible
from control_plane.cli.failures import REFUSED, complain

if TYPE_CHECKING:
    from tritonplane_client import ApiClient
    from tritonplane_client.job_schemas import Job, JobEvent

    Show = Callable[[JobEvent], None]


def follow_job(server: ApiClient, job_id: str) -> Job:
    """Shows on stderr what a job is at, and returns it when it is over, however that came.

    Ctrl-C leaves the job alone, and says so.
    """
    with shown_progress() as show:
        watch_job(server, job_id, show)
    return server.get_job(job_id)


def watch_job(server: ApiClient, job_id: str, show: Show) -> None:
    """Hands over each event of a job until it is over. Ctrl-C leaves the job alone, and says so."""
    try:
        with closing(server.watch_job(job_id)) as events:
            for event in events:
                show(event)
    except KeyboardInterrupt:
        note(
            f"the job goes on; `tritonplane jobs watch {job_id}` watches it, `tritonplane jobs cancel {job_id}` ends it"
        )
        raise


def require_completed(job: Job) -> None:
    """Says why a job did not complete, and ends the command with exit code 1."""
    if job["state"] == "completed":
        return
    error = job["error"]
    if error is None:
        complain(f"the job was {job['state']}")
    else:
        complain(error["message"], error["code"], f"`tritonplane jobs log {job['id']}` shows what it wrote")
    raise typer.Exit(REFUSED)


@contextmanager
def shown_progress() -> Iterator[Show]:
    console = side_console()
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("waiting", total=100)

        def show(event: JobEvent) -> None:
            bar.update(task, description=visible(_doing(event)), completed=event["progress"])

        yield show


def _lines() -> Show:
    """A line where what it is at changes; a program that reads along does not want every percent."""
    said = ""

    def show(event: JobEvent) -> None:
        nonlocal said
        doing = _doing(event)
        if doing != said:
            note(visible(f"{event['progress']:3.0f}% {doing}"))
            said = doing

    return show


def _doing(event: JobEvent) -> str:
    return event["step"] or event["state"]
