"""What every test may ask for."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.product import ServerProcess
from tests.triton import RunningTriton, running_triton


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_reaches_children() -> None:
    """A shell ignores SIGINT in its background jobs, and every child inherits that: not if we have a handler."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The real server with the models in the box, one for all tests that leave it as they found it."""
    server = ServerProcess(tmp_path_factory.mktemp("product") / "state").start().wait_ready()
    yield server
    assert server.stop() == 0, server.log[-4000:]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def triton(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningTriton]:
    """A supervised Triton without a product around it, one for all tests that do not kill it."""
    async with running_triton(tmp_path_factory.mktemp("triton")) as running:
        yield running
