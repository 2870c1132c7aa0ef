"""One page of a list, as every dialect cuts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from control_plane.domain.errors import InvalidRequest

LIMIT_MAX = 1000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Raises InvalidRequest for a limit outside 1..1000 or a negative offset."""

    limit: int = 100
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LIMIT_MAX:
            raise InvalidRequest(f"limit must be 1 to {LIMIT_MAX}, got {self.limit}", field="limit")
        if self.offset < 0:
            raise InvalidRequest(f"the offset must be 0 or more, got {self.offset}", field="offset")


@dataclass(frozen=True, slots=True)
class Paged(Generic[T]):
    """`total` counts after the filter and before the page."""

    items: Sequence[T]
    total: int
