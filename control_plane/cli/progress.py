"""How far an upload or download is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

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


def _bar() -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = side_console()
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
