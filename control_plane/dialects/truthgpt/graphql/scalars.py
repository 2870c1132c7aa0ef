"""Scalars that GraphQL itself lacks: whole numbers beyond 32 bits, and times as the rest of the product writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NewType

import strawberry
from strawberry.types.scalar import ScalarDefinition

from control_plane.dialects.truthgpt.mapping import to_time
from control_plane.domain.errors import InvalidRequest
from control_plane.edge.times import rfc3339

BigInt = NewType("BigInt", int)
_MAX = 2**63 - 1


def scalars() -> Mapping[object, ScalarDefinition]:
    """By the Python type that stands for each."""
    return {
        BigInt: strawberry.scalar(
            name="BigInt", description="A whole number of up to 64 bits, as a JSON number.", parse_value=_big_int
        ),
        datetime: strawberry.scalar(
            name="DateTime", description="RFC 3339, in UTC.", serialize=rfc3339, parse_value=_time
        ),
    }


def _big_int(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or abs(given) > _MAX:
        raise InvalidRequest(f"a BigInt is a whole number, -{_MAX} to {_MAX}")
    return given


def _time(given: Any) -> datetime | None:
    return to_time("a DateTime", str(given))
