"""A file of lines, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class InMemoryLines:
    """`path`: where a test puts what is to be read."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, Any]] = []
        self.path = Path("no such folder") / "lines.log"

    def write(self, line: Mapping[str, Any]) -> None:
        self.written.append(line)
