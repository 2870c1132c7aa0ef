"""What the services need of the machine: time, its GPU, cryptography, files for operators."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from control_plane.domain.access import Claims, Principal


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware, in UTC."""

    def seconds(self) -> float:
        """Epoch seconds."""


class Credentials(Protocol):
    """Cryptography of credentials; no state, no database."""

    def verify(self, token: str) -> Principal:
        """Who a JWT speaks for. Raises NotAuthenticated."""

    def sign(self, claims: Claims) -> str:
        """A JWT. Raises Unsupported where only a public key is configured."""

    def new_key(self) -> str:
        """A new API key, `tpk_` and 256 random bits."""

    def digest(self, key: str) -> str:
        """The SHA-256 of an API key, in hex."""


class Gpu(Protocol):
    def utilization_percent(self) -> float:
        """How busy the GPUs are; exactly 0 without one. Raises Unsupported where they cannot be asked."""


class LineLog(Protocol):
    """A file of JSON lines for operators. `path`: where it is, or will be with its first line."""

    @property
    def path(self) -> Path: ...

    def write(self, line: Mapping[str, Any]) -> None:
        """Never waits for long, and never fails."""
