"""One page of a list, as every dialect cuts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from control_plane.domain.errors import InvalidRequest

LIMIT_MAX = 1000
OFFSET_MAX = 2**63 - 1  # what a database can count
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Raises InvalidRequest for a limit outside 1..1000 or an offset outside 0..2^63-1."""

    limit: int = 100
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LIMIT_MAX:
            raise InvalidRequest(f"limit must be 1 to {LIMIT_MAX}, got {self.limit}", field="limit")
        if not 0 <= self.offset <= OFFSET_MAX:
            raise InvalidRequest(f"the offset must be 0 to {OFFSET_MAX}, got {self.offset}", field="offset")


@dataclass(frozen=True, slots=True)
class Paged(Generic[T]):
    """`total` counts after the filter and before the page."""

    items: Sequence[T]
    total: int
