"""What people and programs see: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1000  # a table that is read by a program is never folded to a screen's width
NOTHING = "-"
# What a terminal would obey instead of show: all controls but tab and newline.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def result_console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def side_console() -> Console:
    """Where progress, hints and figures go, so that stdout stays clean."""
    return Console(stderr=True, highlight=False)


def print_json(reply: object) -> None:
    typer.echo(json.dumps(reply, indent=2, ensure_ascii=False))


def print_json_line(told: object) -> None:
    """One of many: a line each, for a reader that takes them as they come."""
    typer.echo(json.dumps(told, ensure_ascii=False))


def print_text(text: str) -> None:
    """A piece of text as it is; on a terminal, control characters are shown and not obeyed."""
    typer.echo(visible(text) if sys.stdout.isatty() else text, nl=False)


def note(text: str) -> None:
    typer.echo(text, err=True)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    result_console().print(table)


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """One thing, a line for each of its facts."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(name, _cell(value))
    result_console().print(table)


def visible(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def count(number: int | None) -> str:
    """8650000 as 8.7M."""
    if number is None:
        return NOTHING
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def size(size_bytes: int | None) -> str:
    """9400000 as 9.0 MiB."""
    if size_bytes is None:
        return NOTHING
    for unit, width in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= width:
            return f"{size_bytes / width:.1f} {unit}"
    return f"{size_bytes} B"


def duration(took_s: float | None) -> str:
    """0.0123 as 12.3 ms."""
    if took_s is None:
        return NOTHING
    return f"{took_s:.2f} s" if took_s >= 1 else f"{took_s * 1000:.3g} ms"


def percent(part: float | None) -> str:
    """0.25 as 25.0 %."""
    return NOTHING if part is None else f"{part:.1%}".replace("%", " %")


def time(stamp: str | None) -> str:
    """A time of the server's, in this machine's zone, to the second."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M:%S") if stamp else NOTHING


def _cell(value: object) -> Text:
    # Text, not str: rich would read brackets in a model's error as markup.
    return Text(visible(str(value)) if value not in (None, "") else NOTHING)
