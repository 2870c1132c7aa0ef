"""What every suite of a store is run on: SQLite, and the double that other tests use in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.gateways.state import SqlDatabase, open_database


@pytest.fixture(params=["sqlite", "in memory"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlDatabase | None]:
    """None asks for the double."""
    if request.param == "in memory":
        yield None
        return
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/state.db") as database:
        yield database
