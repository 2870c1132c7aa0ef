"""A line for every request, where the operator wants them: who asked what, and how it ended; never what was sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

REDACTED = "REDACTED"
# Credentials, and a GraphQL document with its values, which may hold a prompt.
_SECRET = frozenset({"token", "api_key", "access_token", "query", "variables", "extensions"})


class Lines(Protocol):
    def write(self, line: Mapping[str, Any]) -> None: ...


def redacted(query: bytes) -> str:
    """The query string with no credential and no document in it, however their names are spelled in percent signs."""
    text = query.decode("latin-1")
    pairs = parse_qsl(text, keep_blank_values=True)
    if not any(name.lower() in _SECRET for name, _ in pairs):
        return text
    return urlencode([(name, REDACTED if name.lower() in _SECRET else value) for name, value in pairs])


class Stopwatch:
    """When a request came, and how long ago that is."""

    __slots__ = ("_started", "at")

    def __init__(self) -> None:
        self.at, self._started = datetime.now(UTC), time.perf_counter()

    def took_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 3)
