"""HTTP servers for contract tests: one that is shared and left as found, and a maker of own ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.contract.served import Served, serving
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import World, make_world

ServeHttp = Callable[..., Awaitable[Served]]


async def two_models(**options: Any) -> World:
    """A text model `coder` and a tensor model `adder`, both loaded."""
    world = await make_world(text_revision("coder"), tensor_revision("adder"), **options)
    await world.services.models.load("coder")
    await world.services.models.load("adder")
    return world


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[Served]:
    """`two_models` behind HTTP, for tests that change nothing."""
    async with serving(await two_models(), debug=False, max_body_bytes=1024 * 1024) as served:
        yield served


@pytest.fixture
async def serve_http() -> AsyncIterator[ServeHttp]:
    """Serves a world of the test's own: `await serve_http(world, **settings)`, by default `two_models`."""
    async with AsyncExitStack() as opened:

        async def serve(world: World | None = None, **config: Any) -> Served:
            return await opened.enter_async_context(serving(world or await two_models(), **config))

        yield serve
