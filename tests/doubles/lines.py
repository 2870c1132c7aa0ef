"""A file of lines, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class InMemoryLines:
    def __init__(self) -> None:
        self.written: list[Mapping[str, Any]] = []

    def write(self, line: Mapping[str, Any]) -> None:
        self.written.append(line)

    def last(self, count: int) -> list[Mapping[str, Any]]:
        return self.written[-count:]
