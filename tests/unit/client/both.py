"""One face for the blocking and the asynchronous client: `call` any method, `stream` into a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Protocol

from tritonplane_client import ApiClient, AsyncApiClient, Token


class Face(Protocol):
    async def call(self, method: str, *args: Any, **options: Any) -> Any: ...

    def stream(self, *args: Any, **options: Any) -> AsyncIterator[Token]:
        """Closing it closes the client's own stream."""

    def follow(self, method: str, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """What `watch_job` or `events` yields."""


class Blocking:
    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        bound: Callable[..., Any] = getattr(self._client, method)
        return await asyncio.to_thread(bound, *args, **options)

    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[Token]:
        async with aclosing(self.follow("stream", *args, **options)) as tokens:  # type: ignore[type-var]
            async for token in tokens:
                yield token

    async def follow(self, method: str, *args: Any, **options: Any) -> AsyncIterator[Any]:
        items = getattr(self._client, method)(*args, **options)
        try:
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                yield item
        finally:
            items.close()


class Asynchronous:
    def __init__(self, client: AsyncApiClient) -> None:
        self._client = client

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        bound: Callable[..., Any] = getattr(self._client, method)
        return await bound(*args, **options)

    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[Token]:
        async with aclosing(self.follow("stream", *args, **options)) as tokens:  # type: ignore[type-var]
            async for token in tokens:
                yield token

    async def follow(self, method: str, *args: Any, **options: Any) -> AsyncIterator[Any]:
        async with aclosing(getattr(self._client, method)(*args, **options)) as items:
            async for item in items:
                yield item
