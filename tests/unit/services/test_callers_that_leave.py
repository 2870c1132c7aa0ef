"""A change of a model that has begun is finished, whether or not its caller waits for it."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.domain.models import ModelState
from tests.doubles.repository import text_revision
from tests.doubles.services import World, make_world
from tests.doubles.virtual_time import in_virtual_time


async def abandoned(world: World, verb: str) -> None:
    """Ask for a change, and give up while Triton is at it."""
    world.triton.loads_go_on.clear()
    asking = asyncio.create_task(getattr(world.services.models, verb)("coder"))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    world.triton.loads_go_on.set()
    await asyncio.sleep(0.01)


@in_virtual_time
async def test_an_abandoned_load_ends_loaded() -> None:
    world = await make_world(text_revision("coder"))
    await abandoned(world, "load")
    assert world.services.catalog.resolve("coder").state is ModelState.LOADED
    assert world.services.catalog.get("coder").record.desired == {1}


@in_virtual_time
async def test_an_abandoned_unload_ends_unloaded() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    await abandoned(world, "unload")
    assert world.services.catalog.resolve("coder").state is ModelState.UNLOADED


@in_virtual_time
async def test_an_abandoned_load_that_fails_ends_failed_with_the_reason() -> None:
    world = await make_world(text_revision("coder"))
    world.triton.refusals["coder--r1"] = EngineFailed("no such opset")
    await abandoned(world, "load")
    status = world.services.catalog.resolve("coder")
    assert (status.state, status.last_error) == (ModelState.FAILED, "no such opset")
