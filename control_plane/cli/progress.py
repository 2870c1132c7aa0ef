"""How far an upload, a download or a drawing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from control_plane.cli.console import side_console

if TYPE_CHECKING:
    from tritonplane_client.schemas import ProgressCallback


@contextmanager
def upload_bar(name: str) -> Iterator[ProgressCallback]:
    """A bar on stderr, if that is a terminal; when all is sent it says that the server is at work."""
    with _bar() as bar:
        task = bar.add_task(f"packing {name}", total=None)

        def show(sent_bytes: int, total_bytes: int) -> None:
            doing = f"sending {name}" if sent_bytes < total_bytes else f"the server checks {name}"
            bar.update(task, description=doing, completed=sent_bytes, total=total_bytes)

        yield show


@contextmanager
def download_bar(name: str) -> Iterator[ProgressCallback]:
    """A bar on stderr, if that is a terminal."""
    with _bar() as bar:
        task = bar.add_task(f"fetching {name}", total=None)
        yield lambda fetched_bytes, total_bytes: bar.update(task, completed=fetched_bytes, total=total_bytes)


@contextmanager
def step_bar(doing: str) -> Iterator[ProgressCallback]:
    """A bar on stderr, if that is a terminal; told of steps, so far and in all."""
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda step, num_steps: bar.update(task, completed=step, total=num_steps)


def _bar(*columns: ProgressColumn) -> Progress:
    columns = columns or (DownloadColumn(), TransferSpeedColumn())
    console = side_console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
