"""`tritonplane events`: what happens on the server, as it happens."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.console import print_json_line, print_text, time, visible
from control_plane.cli.remote import Remote, with_server

if TYPE_CHECKING:
    from tritonplane_client.job_schemas import Event


@with_server
def events(
    remote: Remote,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="job, model, revision or health; may be given several times, all unless said."),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="A model's name, a revision as NAME:N, or a job's id.", show_default=False)
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(help="Begin with what happened after this number; 0 is all that is kept.", min=0),
    ] = None,
) -> None:
    """Print what happens to models, revisions and jobs, until Ctrl-C.

    With --json each event is a line of JSON.
    """
    with remote.connect() as server, closing(server.events(topic or (), subject=subject, after=after)) as happening:
        for event in happening:
            if remote.as_json:
                print_json_line(event)
            else:
                print_text(f"{_line(event)}\n")


def _line(event: Event) -> str:
    payload = json.dumps(event["payload"], ensure_ascii=False) if event["payload"] else ""
    words = (time(event["at"]), event["seq"], event["topic"], event["subject"], event["kind"], payload)
    return visible("  ".join(str(word) for word in words if word != ""))
