"""Models that call others: their parts are loaded with them, stay while they are called, and go after them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from control_plane.domain.errors import Conflict, EngineFailed, Unavailable
from control_plane.domain.models import HealthStatus, ModelState
from tests.doubles.repository import diffusion_revision, hybrid_revision, tensor_revision
from tests.doubles.services import World, make_world

UNET, ENCODER = "unet--r1", "encoder--r1"


async def _world() -> World:
    return await make_world(
        diffusion_revision("digits", parts=(UNET,)),
        hybrid_revision("painter", parts=(ENCODER, UNET)),
        tensor_revision("unet"),
        tensor_revision("encoder"),
    )


def _state(world: World, model: str) -> ModelState:
    return world.services.catalog.get(model).stable.state


async def test_loading_a_pipeline_loads_its_parts_first() -> None:
    world = await _world()

    status = await world.services.models.load("painter")

    assert world.triton.loads == [ENCODER, UNET, "painter--r1"]
    assert (status.state, status.health.status) == (ModelState.LOADED, HealthStatus.HEALTHY)
    assert _state(world, "unet") is ModelState.LOADED


async def test_a_part_that_is_loaded_already_is_not_loaded_again() -> None:
    world = await _world()
    await world.services.models.load("painter")
    await world.services.models.load("digits")

    assert world.triton.loads == [ENCODER, UNET, "painter--r1", "digits--r1"]


async def test_pipelines_that_are_loaded_at_once_share_their_part() -> None:
    world = await _world()

    await asyncio.gather(world.services.models.load("digits"), world.services.models.load("painter"))

    assert sorted(world.triton.loads) == sorted([ENCODER, UNET, "digits--r1", "painter--r1"])


async def test_a_part_that_cannot_be_loaded_fails_its_pipeline_with_the_reason() -> None:
    world = await _world()
    world.triton.refusals[UNET] = EngineFailed("the graph of unet--r1 is broken")

    with pytest.raises(EngineFailed) as failed:
        await world.services.models.load("digits")

    assert failed.value.message == "its part unet:1 could not be loaded: the graph of unet:1 is broken"
    assert (_state(world, "digits"), _state(world, "unet")) == (ModelState.FAILED, ModelState.FAILED)
    assert "digits--r1" not in world.triton.loads


async def test_parts_of_a_pipeline_that_cannot_be_loaded_do_not_stay() -> None:
    world = await _world()
    await world.services.models.load("digits")
    world.triton.refusals["painter--r1"] = EngineFailed("its files are broken")

    with pytest.raises(EngineFailed):
        await world.services.models.load("painter")

    assert world.triton.loaded == {UNET, "digits--r1"}


async def test_a_part_asked_to_go_while_a_pipeline_comes_is_there_in_the_end() -> None:
    world = await _world()
    await world.services.models.load("unet")
    world.triton.loads_go_on.clear()
    leaving = asyncio.create_task(world.services.models.unload("unet"))
    await asyncio.sleep(0)
    coming = asyncio.create_task(world.services.models.load("digits"))
    for _ in range(5):
        await asyncio.sleep(0)
    world.triton.loads_go_on.set()

    await asyncio.gather(leaving, coming)

    assert (_state(world, "unet"), _state(world, "digits")) == (ModelState.LOADED, ModelState.LOADED)
    assert world.triton.loaded == {UNET, "digits--r1"}


async def test_unloading_a_pipeline_unloads_the_parts_that_nobody_else_wants() -> None:
    world = await _world()
    await world.services.models.load("painter")
    await world.services.models.load("digits")

    await world.services.models.unload("painter")
    assert (_state(world, "encoder"), _state(world, "unet")) == (ModelState.UNLOADED, ModelState.LOADED)

    await world.services.models.unload("digits")
    assert _state(world, "unet") is ModelState.UNLOADED
    assert world.triton.loaded == set()


async def test_a_part_that_was_loaded_for_itself_stays() -> None:
    world = await _world()
    await world.services.models.load("unet")
    await world.services.models.load("digits")

    await world.services.models.unload("digits")

    assert _state(world, "unet") is ModelState.LOADED


async def test_a_part_that_is_called_cannot_be_unloaded() -> None:
    world = await _world()
    await world.services.models.load("painter")
    await world.services.models.load("digits")

    with pytest.raises(Conflict, match="it is a part of digits:1, painter:1; unload that first") as refused:
        await world.services.models.unload("unet")

    assert refused.value.details["pipelines"] == ["digits:1", "painter:1"]
    assert _state(world, "unet") is ModelState.LOADED


async def test_a_part_of_an_unloaded_pipeline_can_be_unloaded_but_not_purged() -> None:
    world = await _imported()
    await world.services.models.load("unet")
    await world.services.models.unload("unet")

    with pytest.raises(Conflict, match="cannot purge unet:1: it is a part of digits:1; purge that first"):
        await world.services.models.purge("unet")

    await world.services.models.purge("digits")
    await world.services.models.purge("unet")


async def _imported() -> World:
    """Models that may be purged."""
    world = await make_world(diffusion_revision("digits", parts=(UNET,)), tensor_revision("unet"))
    for name in ("digits", "unet"):
        world.services.catalog.put_record(replace(world.services.catalog.get(name).record, is_builtin=False))
    return world


async def test_purging_a_pipeline_that_is_loaded_frees_its_parts() -> None:
    world = await _imported()
    await world.services.models.load("digits")

    await world.services.models.purge("digits")

    assert _state(world, "unet") is ModelState.UNLOADED


async def test_a_triton_that_has_started_anew_gets_parts_before_their_pipelines() -> None:
    world = await _world()
    await world.services.models.load("painter")
    world.triton.loads.clear()
    world.triton.loaded.clear()

    await world.services.inference.reconciler.reconcile()

    assert world.triton.loads[-1] == "painter--r1"
    assert sorted(world.triton.loads) == sorted([ENCODER, UNET, "painter--r1"])
    assert _state(world, "painter") is ModelState.LOADED


async def test_what_serves_callers_itself_is_loaded_before_parts_and_pipelines() -> None:
    world = await make_world(
        diffusion_revision("digits", parts=(UNET,)), tensor_revision("unet"), tensor_revision("adder")
    )
    for name in ("digits", "adder"):
        await world.services.models.load(name)
    world.triton.loads.clear()

    await world.services.inference.reconciler.reconcile()

    assert world.triton.loads == ["adder--r1", UNET, "digits--r1"]


async def test_a_quarantined_part_is_not_tried_again_for_its_pipeline() -> None:
    world = await _world()
    await world.services.models.load("digits")
    world.triton.loads.clear()

    await world.services.inference.reconciler.reconcile(frozenset({UNET}))

    assert world.triton.loads == []
    stable = world.services.catalog.get("digits").stable
    assert stable.state is ModelState.FAILED
    assert stable.last_error is not None
    assert stable.last_error.startswith("its part unet:1 could not be loaded: quarantined")


async def test_a_dead_part_is_healed_and_its_pipeline_stays() -> None:
    world = await _world()
    await world.services.models.load("digits")
    reconciler = world.services.inference.reconciler
    watch = asyncio.create_task(reconciler.watch(interval_s=60))

    reconciler.suspect(world.services.catalog.get("unet").stable.revision)
    assert _state(world, "unet") is ModelState.DEAD
    for _ in range(20):
        await asyncio.sleep(0)

    assert (_state(world, "unet"), _state(world, "digits")) == (ModelState.LOADED, ModelState.LOADED)
    assert world.triton.unloads == [UNET]
    watch.cancel()


@pytest.mark.parametrize("last", [UNET, "painter--r1"])
async def test_a_triton_that_dies_while_a_pipeline_comes_back_costs_it_no_part(last: str) -> None:
    world = await _world()
    await world.services.models.load("painter")
    world.triton.loaded.clear()
    world.triton.refusals[last] = Unavailable("Triton does not answer; it may be restarting")

    await world.services.inference.reconciler.reconcile()

    assert _state(world, "painter") is ModelState.DEAD
    assert _state(world, "unet") is (ModelState.DEAD if last == UNET else ModelState.LOADED)
    assert ENCODER in world.triton.loaded
    world.triton.refusals.clear()
    world.triton.loaded.clear()
    await world.services.inference.reconciler.reconcile()
    assert {_state(world, name) for name in ("painter", "unet", "encoder")} == {ModelState.LOADED}


async def test_a_pipeline_whose_part_is_gone_says_so() -> None:
    world = await make_world(diffusion_revision("digits", parts=(UNET,)))

    with pytest.raises(EngineFailed) as failed:
        await world.services.models.load("digits")

    assert failed.value.message == "digits:1 calls 'unet:1', which is not in the repository"
