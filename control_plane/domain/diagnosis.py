"""What a look at this machine found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `reason` says what was found; `remedy` is a line to run or do, "" when `ok`."""

    name: str
    ok: bool
    reason: str
    remedy: str = ""
