"""Two changes of one model at once: the second sees what the first has left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from control_plane.domain.errors import DomainError, EngineCrashed, ModelNotFound, TimedOut, Unavailable
from control_plane.domain.models import Health, HealthStatus, ModelState
from control_plane.services.publishing import NewRevision
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import World, make_world
from tests.doubles.virtual_time import in_virtual_time

MLP = NewRevision("mlp", Path("model.onnx"), "upload")


async def held(world: World, first: str, *others: str) -> list[object]:
    """Begin `first` on `mlp`, ask for the others while Triton is at it, then let Triton go on."""
    world.triton.loads_go_on.clear()
    tasks = []
    for verb in (first, *others):
        tasks.append(asyncio.create_task(getattr(world.services.models, verb)("mlp")))
        await asyncio.sleep(0.01)
    world.triton.loads_go_on.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("verb", ["load", "unload", "purge"])
@in_virtual_time
async def test_what_waits_for_a_purge_finds_the_model_gone(verb: str) -> None:
    world = await make_world()
    await world.services.models.add(MLP)

    purged, refused = await held(world, "purge", verb)

    assert purged is None
    assert isinstance(refused, ModelNotFound)


async def test_a_purge_that_waits_for_an_import_deletes_its_revision_too() -> None:
    world = await make_world()
    models = world.services.models
    await models.add(MLP)

    await asyncio.gather(models.add(MLP), models.purge("mlp"))

    await models.open()  # what is left on disk would come back now
    with pytest.raises(ModelNotFound):
        world.services.catalog.get("mlp")


@in_virtual_time
async def test_a_purge_whose_caller_leaves_is_finished() -> None:
    world = await make_world()
    models = world.services.models
    await models.add(MLP)
    await models.load("mlp")
    world.triton.loads_go_on.clear()
    asking = asyncio.create_task(models.purge("mlp"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    world.triton.loads_go_on.set()
    await asyncio.sleep(0.01)

    assert world.services.catalog.record("mlp") is None


@pytest.mark.parametrize("turns", range(8))
async def test_a_publication_that_is_interrupted_is_whole_or_leaves_nothing(turns: int) -> None:
    world = await make_world()
    asking = asyncio.create_task(world.services.models.add(MLP))
    for _ in range(turns):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    assert (world.services.catalog.record("mlp") is None) == asking.cancelled()
    assert list(world.services.catalog.numbers("mlp")) == ([] if asking.cancelled() else [1])


@in_virtual_time
async def test_a_model_unloaded_while_triton_starts_stays_unloaded() -> None:
    world = await make_world(tensor_revision("mlp"), text_revision("coder"))
    await world.services.models.load("mlp")
    await world.services.models.load("coder")
    world.triton.loaded.clear()
    world.triton.loads_go_on.clear()

    starting = asyncio.create_task(world.services.inference.reconciler.reconcile())
    await asyncio.sleep(0.01)
    unloading = asyncio.create_task(world.services.models.unload("mlp"))
    await asyncio.sleep(0.01)
    world.triton.loads_go_on.set()
    await asyncio.gather(starting, unloading)

    assert world.triton.loaded == {"coder--r1"}
    assert world.services.catalog.resolve("mlp").state is ModelState.UNLOADED


@in_virtual_time
async def test_a_model_purged_while_triton_starts_harms_no_other() -> None:
    world = await make_world(text_revision("coder"))
    models = world.services.models
    await models.add(MLP)
    await models.load("mlp")
    await models.load("coder")
    world.triton.loads_go_on.clear()

    purging = asyncio.create_task(models.purge("mlp"))
    await asyncio.sleep(0.01)
    starting = asyncio.create_task(world.services.inference.reconciler.reconcile())
    await asyncio.sleep(0.01)
    world.triton.loads_go_on.set()
    await asyncio.gather(starting, purging)

    assert world.services.catalog.resolve("coder").state is ModelState.LOADED


@in_virtual_time
async def test_a_model_loaded_while_triton_starts_is_still_loaded_afterwards() -> None:
    world = await make_world(tensor_revision("mlp"))
    world.triton.loads_go_on.clear()
    loading = asyncio.create_task(world.services.models.load("mlp"))
    await asyncio.sleep(0.01)
    starting = asyncio.create_task(world.services.inference.reconciler.reconcile())
    await asyncio.sleep(0.01)
    world.triton.loads_go_on.set()
    await asyncio.gather(loading, starting)

    assert world.services.catalog.resolve("mlp").state is ModelState.LOADED


async def test_a_late_sign_of_death_does_not_touch_what_is_unloaded_or_gone() -> None:
    world = await make_world()
    models, reconciler = world.services.models, world.services.inference.reconciler
    revision = await models.add(MLP)
    await models.load("mlp")
    await models.unload("mlp")

    reconciler.suspect(revision)
    assert world.services.catalog.resolve("mlp").state is ModelState.UNLOADED

    await models.purge("mlp")
    reconciler.suspect(revision)


@in_virtual_time
async def test_a_dead_model_is_not_healed_by_killing_a_triton_that_is_restarting() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")
    world.triton.refusals["mlp--r1"] = Unavailable("Triton does not answer")
    reconciler = world.services.inference.reconciler
    reconciler.suspect(world.services.catalog.resolve("mlp").revision)

    await watched(world)

    assert world.server.replacements == []


@in_virtual_time
async def test_the_watch_outlives_a_fault_of_ours() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")
    world.triton.answers_fail = ZeroDivisionError()  # type: ignore[assignment] # what no probe expects
    watching = asyncio.create_task(watched(world))
    await asyncio.sleep(0.02)
    world.triton.answers_fail = None
    world.services.inference.reconciler.suspect(world.services.catalog.resolve("mlp").revision)

    await watching

    assert world.services.catalog.resolve("mlp").state is ModelState.LOADED


async def test_loading_a_dead_model_replaces_its_process() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")
    world.services.inference.reconciler.suspect(world.services.catalog.resolve("mlp").revision)

    await world.services.models.load("mlp")

    assert world.triton.unloads == ["mlp--r1"]
    assert world.services.catalog.resolve("mlp").state is ModelState.LOADED


async def test_what_does_not_answer_after_its_load_is_unloaded_so_that_the_next_load_is_a_real_one() -> None:
    world = await make_world(tensor_revision("mlp"))
    world.triton.answers_fail = EngineCrashed("Stub process is not healthy")

    with pytest.raises(DomainError, match="does not answer"):
        await world.services.models.load("mlp")

    assert world.triton.loaded == set()
    world.triton.answers_fail = None
    assert (await world.services.models.load("mlp")).state is ModelState.LOADED


@in_virtual_time
async def test_an_unload_that_takes_too_long_goes_on_and_is_seen_to_end() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")
    world.triton.unloads_fail = TimedOut("still finishing its requests")

    with pytest.raises(TimedOut):
        await world.services.models.unload("mlp")

    assert world.services.catalog.resolve("mlp").state is ModelState.UNLOADING
    world.triton.unloads_fail = None
    await watched(world)
    assert world.services.catalog.resolve("mlp").state is ModelState.UNLOADED


@in_virtual_time
async def test_a_dead_model_of_a_triton_that_is_not_ours_serves_again_when_it_answers() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")
    world.server.repository = "read-only"
    world.services.inference.reconciler.suspect(world.services.catalog.resolve("mlp").revision)
    assert world.services.catalog.resolve("mlp").state is ModelState.DEAD

    await watched(world)

    status = world.services.catalog.resolve("mlp")
    assert (status.state, status.health) == (
        ModelState.LOADED,
        Health(HealthStatus.HEALTHY, world.clock.now()),
    )
    assert world.triton.unloads == []


async def watched(world: World) -> None:
    watch = asyncio.create_task(world.services.inference.reconciler.watch(interval_s=0.005))
    await asyncio.sleep(0.05)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
