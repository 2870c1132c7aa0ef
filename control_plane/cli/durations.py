"""Lengths of time as people write them on a command line."""

from __future__ import annotations

import re

import typer

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
LONGEST_S = 100 * 365 * 86_400  # a time further away is a slip, and soon past the year 9999 that a date can hold


def seconds(text: str) -> int:
    """Seconds from 90, 90s, 15m, 12h, 30d or 2w. Raises BadParameter."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw]?)", text)
    duration_s = int(found[1]) * UNITS_S[found[2] or "s"] if found else 0
    if not 0 < duration_s <= LONGEST_S:
        raise typer.BadParameter(f"{text!r} is no duration of at most 100 years; write 90s, 15m, 12h, 30d or 2w")
    return duration_s
