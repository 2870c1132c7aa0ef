"""The whole of the command line, put together."""

from __future__ import annotations

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from control_plane.cli import doctor, events, infer, jobs, keys, models, optimize, serve, setup

EPILOG = "Exit codes: 0 done, 1 the server refused or failed, 2 wrong usage, 3 no server answers, 130 interrupted."

# Pretty tracebacks print local variables, and those hold API keys.
app = typer.Typer(
    name="tritonplane",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.command("infer")(infer.infer)
app.command("events")(events.events)
app.add_typer(models.app, name="models")
app.add_typer(optimize.app, name="optimize")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(setup.app, name="setup")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tritonplane {version('tritonplane')}")
        raise typer.Exit


@app.callback()
def tritonplane(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A control plane beside NVIDIA Triton Inference Server.

    `serve`, `doctor` and `setup` work on this machine; everything else asks a running server
    (--url or TRITONPLANE_URL, http://127.0.0.1:8000 unless said otherwise).
    """


def run() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A model may write what the terminal's encoding cannot show; that must not end the command.
            stream.reconfigure(errors="replace")
    app()
