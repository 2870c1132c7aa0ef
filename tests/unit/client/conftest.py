"""The miniature server, and both clients behind one face so that each test speaks for both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tritonplane_client import ApiClient, AsyncApiClient, watching

from tests.doubles.plane import KEY, Miniature, running_miniature
from tests.unit.client.both import Asynchronous, Blocking, Face


@pytest.fixture(scope="session")
def miniature() -> Iterator[Miniature]:
    with running_miniature() as running:
        yield running


@pytest.fixture
def plane(miniature: Miniature) -> Miniature:
    miniature.reset()
    return miniature


@pytest.fixture(params=["blocking", "asynchronous"])
async def client(request: pytest.FixtureRequest, plane: Miniature) -> AsyncIterator[Face]:
    if request.param == "blocking":
        with ApiClient(plane.url, KEY) as blocking:
            yield Blocking(blocking)
    else:
        async with AsyncApiClient(plane.url, KEY) as asynchronous:
            yield Asynchronous(asynchronous)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch connects again at once."""
    monkeypatch.setattr(watching, "FIRST_WAIT_S", 0.0)
