"""Triton after a start, after a crash, and when a model dies behind its back."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.domain.errors import EngineCrashed, EngineFailed, ModelNotFound, Unavailable
from control_plane.domain.generation import Generation
from control_plane.domain.models import ModelState
from control_plane.domain.triton import TritonState
from tests.doubles.repository import VECTOR, tensor_revision, text_revision
from tests.doubles.services import World, make_world
from tests.doubles.virtual_time import in_virtual_time


def states(world: World) -> dict[str, ModelState]:
    return {status.revision.directory: status.state for status in world.services.catalog.statuses()}


async def test_a_triton_that_starts_gets_every_desired_model_and_no_other() -> None:
    world = await make_world(text_revision("coder"), tensor_revision("mlp"))
    await world.services.models.load("coder")
    world.triton.loaded.clear()  # the crash

    await world.services.inference.reconciler.reconcile()

    assert world.triton.loaded == {"coder--r1"}
    assert states(world) == {"coder--r1": ModelState.LOADED, "mlp--r1": ModelState.UNLOADED}


async def test_one_model_that_fails_keeps_no_other_from_coming_back() -> None:
    world = await make_world(text_revision("coder"), tensor_revision("mlp"))
    await world.services.models.load("coder")
    await world.services.models.load("mlp")
    world.triton.loaded.clear()
    world.triton.refusals["mlp--r1"] = EngineFailed("broken")

    await world.services.inference.reconciler.reconcile()

    assert states(world) == {"coder--r1": ModelState.LOADED, "mlp--r1": ModelState.FAILED}


async def test_a_quarantined_model_is_not_loaded_and_says_why() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")
    world.triton.loaded.clear()

    await world.services.inference.reconciler.reconcile(frozenset({"mlp--r1"}))

    assert world.triton.loaded == set()
    assert "quarantined" in str(world.services.catalog.get("mlp").stable.last_error)


@in_virtual_time
async def test_a_request_that_finds_a_dead_process_has_the_model_healed() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.fail_at = (0, EngineCrashed("Stub process is not healthy"))
    with pytest.raises(EngineCrashed):
        await world.services.inference.generate(Generation("coder", "a b c"))
    assert states(world) == {"coder--r1": ModelState.DEAD}
    with pytest.raises(Unavailable, match="healed"):
        await world.services.inference.generate(Generation("coder", "a b c"))
    world.triton.fail_at = None

    await watched_until(world, ModelState.LOADED)

    assert (await world.services.inference.generate(Generation("coder", "a b c"))).text == "a b c"


@in_virtual_time
async def test_a_model_that_cannot_be_healed_has_triton_replaced() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.refusals["coder--r1"] = EngineFailed("it will not come up")
    world.services.inference.reconciler.suspect(world.services.catalog.get("coder").stable.revision)

    await watched_until(world, ModelState.FAILED)

    assert world.server.replacements == ["coder cannot be healed: it will not come up"]
    assert world.server.state is TritonState.DEGRADED  # until it is gone


@in_virtual_time
async def test_a_model_whose_healing_ends_triton_comes_back_with_it_and_has_not_failed() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.refusals["coder--r1"] = Unavailable("Triton does not answer; it may be restarting")
    world.services.inference.reconciler.suspect(world.services.catalog.get("coder").stable.revision)
    watch = asyncio.create_task(world.services.inference.reconciler.watch(3600))
    async with asyncio.timeout(5):
        while "Triton does not answer" not in str(world.services.catalog.get("coder").stable.last_error):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    watch.cancel()

    assert states(world) == {"coder--r1": ModelState.DEAD}
    with pytest.raises(Unavailable, match="healed"):
        await world.services.inference.generate(Generation("coder", "a b c"))
    assert world.server.replacements == []
    world.triton.refusals.clear()
    await world.services.inference.reconciler.reconcile()
    assert states(world) == {"coder--r1": ModelState.LOADED}


async def test_a_model_that_triton_dies_of_while_it_comes_back_comes_back_with_the_next_one() -> None:
    world = await make_world(text_revision("coder"), tensor_revision("mlp"))
    await world.services.models.load("coder")
    world.triton.loaded.clear()
    for directory in ("coder--r1", "mlp--r1"):
        world.triton.refusals[directory] = Unavailable("Triton does not answer; it may be restarting")

    await world.services.inference.reconciler.reconcile()
    with pytest.raises(Unavailable):
        await world.services.models.load("mlp")  # nobody will load that again

    assert states(world) == {"coder--r1": ModelState.DEAD, "mlp--r1": ModelState.FAILED}
    with pytest.raises(Unavailable, match="healed"):
        await world.services.inference.generate(Generation("coder", "a b c"))
    world.triton.refusals.clear()
    await world.services.inference.reconciler.reconcile()
    assert states(world) == {"coder--r1": ModelState.LOADED, "mlp--r1": ModelState.FAILED}


async def test_a_dead_model_is_healed_even_where_triton_was_not_gone() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.refusals["coder--r1"] = Unavailable("Triton does not answer; it may be restarting")
    await world.services.inference.reconciler.reconcile()
    world.triton.refusals.clear()

    await watched_until(world, ModelState.LOADED)

    assert world.server.state is TritonState.READY


async def test_a_model_that_triton_lost_is_loaded_again() -> None:
    world = await make_world(tensor_revision("mlp"))
    await world.services.models.load("mlp")
    world.triton.loaded.clear()  # somebody unloaded it, or Triton restarted between two looks

    watch = asyncio.create_task(world.services.inference.reconciler.watch(interval_s=0.005))
    async with asyncio.timeout(5):
        while not world.triton.loaded:  # noqa: ASYNC110 - the double has no event to wait on
            await asyncio.sleep(0.001)
    watch.cancel()

    assert world.triton.loaded == {"mlp--r1"}


async def test_one_model_that_cannot_be_shown_hides_no_other_of_a_triton_that_is_not_ours() -> None:
    world = await make_world()
    world.server.repository = "read-only"
    world.triton.loaded = {"going", "mlp"}
    world.triton.signatures["mlp"] = VECTOR  # the other is unloaded between two questions

    await world.services.inference.reconciler.reconcile()

    assert states(world) == {"mlp": ModelState.LOADED}


async def test_a_triton_that_goes_away_while_it_is_looked_at_is_looked_at_again() -> None:
    world = await make_world()
    world.server.repository = "read-only"
    world.triton.loaded = {"mlp"}
    world.triton.signatures["mlp"] = Unavailable("Triton does not answer; it may be restarting")

    with pytest.raises(Unavailable):
        await world.services.inference.reconciler.reconcile()


async def test_a_triton_that_lost_a_model_is_a_reason_to_ask_again_not_a_404() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.loaded.clear()

    with pytest.raises(Unavailable) as refused:
        await world.services.inference.generate(Generation("coder", "a"))

    assert refused.value.details["retry_after_seconds"] == 2
    with pytest.raises(ModelNotFound):
        await world.services.inference.generate(Generation("nobody", "a"))


async def watched_until(world: World, state: ModelState) -> None:
    watch = asyncio.create_task(world.services.inference.reconciler.watch(interval_s=0.005))
    async with asyncio.timeout(5):
        while set(states(world).values()) != {state}:  # noqa: ASYNC110 - the catalog has no event to wait on
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
