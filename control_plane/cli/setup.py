"""`tritonplane setup`: prepares this machine for what the server does not bring along."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from control_plane.cli.console import note, print_json, side_console, visible
from control_plane.cli.failures import REFUSED, USAGE, complain
from control_plane.cli.local import local_settings

if TYPE_CHECKING:
    from control_plane.ports import Report

LINES_SHOWN = 20  # of what pip said, when it failed

app = typer.Typer(no_args_is_help=True, help="Prepare this machine.")


class Torch(StrEnum):
    """Which build of torch; `auto` looks for a GPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@app.callback()
def setup() -> None:
    pass


@app.command("convert")
def convert(
    torch: Annotated[Torch, typer.Option(help="The build of torch; auto: CUDA where there is a GPU.")] = Torch.AUTO,
    extras: Annotated[
        list[str] | None, typer.Option("--with", help="tensorrt-rtx or tensorrt; may be given several times.")
    ] = None,
    extra_index_url: Annotated[
        list[str] | None, typer.Option(help="Passed to pip, as for the index of another build of torch.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make it anew though it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Make the environment that conversions run in, which the server would make on first need.

    pip is used as it is configured: with PIP_NO_INDEX=1 and PIP_FIND_LINKS=DIR it needs no network.
    """
    from control_plane.bootstrap import set_up_converter  # noqa: PLC0415 - with it comes the whole product
    from control_plane.domain.environments import Choice, Making  # noqa: PLC0415

    said: deque[str] = deque(maxlen=LINES_SHOWN)
    choice = Choice(torch.value, tuple(extras or ()))
    making = Making(choice, tuple(extra_index_url or ()), said.append, force)
    settings = local_settings()
    made = _made(said, lambda report: set_up_converter(settings, making, report))
    if as_json:
        print_json(made)
    else:
        versions = made["versions"]
        assert isinstance(versions, dict)
        typer.echo(f"conversions run with {', '.join(f'{name} {version}' for name, version in versions.items())}")


@app.command("perf")
def perf(
    as_json: Annotated[bool, typer.Option("--json", help="Print what was fetched as JSON.")] = False,
) -> None:
    """Fetch perf_analyzer, which puts load on models, and which the server would fetch on first need.

    pip is used as it is configured: with PIP_NO_INDEX=1 and PIP_FIND_LINKS=DIR it needs no network.
    """
    from control_plane.bootstrap import set_up_perf_analyzer  # noqa: PLC0415 - with it comes the whole product

    said: deque[str] = deque(maxlen=LINES_SHOWN)
    settings = local_settings()
    made = _made(said, lambda report: set_up_perf_analyzer(settings, said.append, report))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"load on models comes from perf_analyzer {made['version']}")


def _made(said: Sequence[str], work: Callable[[Report], Coroutine[None, None, dict[str, object]]]) -> dict[str, object]:
    """Do it with a bar; when it fails, show the last that pip said."""
    from control_plane.domain.errors import DomainError, InvalidRequest  # noqa: PLC0415

    try:
        with _shown() as report:
            return asyncio.run(work(report))
    except InvalidRequest as error:
        complain(error.message)
        raise typer.Exit(USAGE) from error
    except DomainError as error:
        for line in said:
            note(visible(line))
        complain(error.message, error.code)
        raise typer.Exit(REFUSED) from error


@contextmanager
def _shown() -> Iterator[Report]:
    """A bar on a terminal; elsewhere nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = side_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=1.0)
        yield lambda progress: bar.update(task, description=progress.message, completed=progress.fraction)
