"""Times at the edge: how every API of ours writes one (C-TIME-01: RFC 3339, UTC, milliseconds), and a steady clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_now() -> str:
    return rfc3339(datetime.now(UTC))


def steady_seconds() -> Callable[[], float]:
    """A clock of epoch seconds that never goes back: as of now by the wall, from then on by the monotonic clock."""
    began_s = time.time() - time.monotonic()
    return lambda: began_s + time.monotonic()
