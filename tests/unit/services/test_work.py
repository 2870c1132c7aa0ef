"""A loaded model that a job works on is shown as `optimizing`: it serves, and its real state is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.errors import Unavailable
from control_plane.domain.models import ModelFilter, ModelState
from control_plane.domain.paging import Page
from control_plane.services.publishing import NewRevision
from tests.doubles.repository import tensor_revision
from tests.doubles.services import World, make_world


@pytest.fixture
async def world() -> World:
    world = await make_world(tensor_revision("mlp"), tensor_revision("mlp", 2), tensor_revision("other"))
    await world.services.models.load("mlp")
    await world.services.models.load("other")
    return world


def shown(world: World, reference: str = "mlp") -> ModelState:
    return world.services.catalog.resolve(reference).state


async def test_wherever_it_is_read_a_loaded_model_is_optimizing_and_serves(world: World) -> None:
    catalog = world.services.catalog
    catalog.begin_work("mlp")
    optimizing = catalog.list(ModelFilter(states=frozenset({ModelState.OPTIMIZING})), Page())
    assert [model.name for model in optimizing.items] == ["mlp"]
    assert catalog.get("mlp").stable.state is ModelState.OPTIMIZING
    assert catalog.status("mlp", 1).state is ModelState.OPTIMIZING
    assert shown(world) is ModelState.OPTIMIZING
    assert shown(world).serves
    assert (shown(world, "mlp:2"), shown(world, "other")) == (ModelState.UNLOADED, ModelState.LOADED)
    assert catalog.find(tensor_revision("mlp")).state is ModelState.LOADED  # type: ignore[union-attr]
    catalog.end_work("mlp")
    assert shown(world) is ModelState.LOADED


async def test_it_is_optimizing_until_the_last_job_has_ended(world: World) -> None:
    for _ in range(2):
        world.services.catalog.begin_work("mlp")
    world.services.catalog.end_work("mlp")
    assert shown(world) is ModelState.OPTIMIZING
    world.services.catalog.end_work("mlp")
    assert shown(world) is ModelState.LOADED
    world.services.catalog.end_work("mlp")  # once too often
    world.services.catalog.begin_work("mlp")
    assert shown(world) is ModelState.OPTIMIZING


async def test_the_beginning_and_the_end_are_told_once(world: World) -> None:
    before = len(world.told())
    for change in (world.services.catalog.begin_work, world.services.catalog.end_work):
        change("mlp")
    world.services.catalog.begin_work("mlp")
    world.services.catalog.begin_work("mlp")
    assert world.told()[before:] == [("revision", "mlp:1", kind) for kind in ("optimizing", "loaded", "optimizing")]
    assert world.events.recorded[-1].payload == {"model": "mlp", "revision": 1, "state": "optimizing"}


async def test_loads_and_unloads_meanwhile_are_what_they_are(world: World) -> None:
    catalog, models = world.services.catalog, world.services.models
    catalog.begin_work("mlp")
    assert (await models.unload("mlp")).state is ModelState.UNLOADED
    assert shown(world) is ModelState.UNLOADED
    assert (await models.load("mlp")).state is ModelState.OPTIMIZING
    await models.load("mlp:2")
    assert shown(world, "mlp:2") is ModelState.OPTIMIZING
    catalog.end_work("mlp")
    assert (shown(world), shown(world, "mlp:2")) == (ModelState.LOADED, ModelState.LOADED)


async def test_an_unload_that_fails_leaves_it_loaded(world: World) -> None:
    catalog = world.services.catalog
    catalog.begin_work("mlp")
    world.triton.unloads_fail = Unavailable("Triton is gone")
    with pytest.raises(Unavailable):
        await world.services.models.unload("mlp")
    assert shown(world) is ModelState.OPTIMIZING
    catalog.end_work("mlp")
    assert shown(world) is ModelState.LOADED


async def test_a_triton_that_restarts_and_a_death_are_told_and_healed_as_ever(world: World) -> None:
    catalog, reconciler = world.services.catalog, world.services.inference.reconciler
    catalog.begin_work("mlp")
    world.triton.loaded.clear()
    await reconciler.reconcile()
    assert (shown(world), world.triton.loaded) == (ModelState.OPTIMIZING, {"mlp--r1", "other--r1"})
    reconciler.suspect(catalog.status("mlp", 1).revision)
    assert shown(world) is ModelState.DEAD
    await world.heal()
    assert shown(world) is ModelState.OPTIMIZING
    assert ("health", "mlp:1", "died") in world.told()


async def test_a_model_that_is_purged_meanwhile_is_gone(world: World) -> None:
    models, catalog = world.services.models, world.services.catalog
    await models.publish(NewRevision("new", Path("anywhere"), "a test"), 1, "lea")
    await models.load("new")
    catalog.begin_work("new")
    await models.purge("new")
    catalog.end_work("new")
    assert catalog.record("new") is None
