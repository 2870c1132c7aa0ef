"""What a lean route answers with: one body, or a stream whose first item is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from control_plane.domain.errors import DomainError, EngineFailed
from control_plane.domain.limits import Quota

Headers = list[tuple[bytes, bytes]]
JSON = b"application/json"
T = TypeVar("T")


def quota_headers(quota: Quota | None) -> Headers:
    """What is left of a bucket (C-RL-01); nothing where there is no limit."""
    if quota is None:
        return []
    return [
        (b"x-ratelimit-limit", b"%d" % quota.limit),
        (b"x-ratelimit-remaining", b"%d" % quota.remaining),
        (b"x-ratelimit-reset", b"%d" % quota.reset_at_s),
    ]


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes
    status: int = 200
    media_type: bytes = JSON
    headers: Headers = field(default_factory=list)


class Begun(Generic[T]):
    """A generator's items, the first of them already taken out of it. Closing it closes the generator."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: T, rest: AsyncGenerator[T, None]) -> None:
        self._first: T | None = first
        self._rest = rest

    def __aiter__(self) -> Begun[T]:
        return self

    async def __anext__(self) -> T:
        first = self._first
        if first is not None:
            self._first = None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()


async def begin(items: AsyncGenerator[T, None]) -> Begun[T]:
    """Wait for the first item: a failure before it still has a status of its own."""
    try:
        return Begun(await anext(items), items)
    except StopAsyncIteration:
        raise EngineFailed("the model ended without an answer") from None


@dataclass(frozen=True, slots=True)
class Stream:
    """`render` makes the bytes of an item, `failed` those of an error on the way; `end` follows either."""

    items: Begun[Any]
    render: Callable[[Any], bytes]
    failed: Callable[[DomainError], bytes]
    end: bytes
    media_type: bytes
