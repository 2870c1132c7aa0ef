"""A world for each test."""

from __future__ import annotations

import pytest

from tests.unit.access.worlds import World, a_world


@pytest.fixture
def world() -> World:
    return a_world()
