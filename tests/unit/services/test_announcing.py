"""What is told of models while they are imported, loaded, die, are healed and purged."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.services.publishing import NewRevision
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world


async def test_what_was_there_at_the_start_is_no_news() -> None:
    assert (await make_world(tensor_revision("adder"))).told() == []


async def test_loading_and_unloading_are_told_step_by_step() -> None:
    world = await make_world(tensor_revision("adder"))
    await world.services.models.load("adder")
    await world.services.models.unload("adder")
    assert world.told() == [("revision", "adder:1", kind) for kind in ("loading", "loaded", "unloading", "unloaded")]
    assert world.events.recorded[1].payload == {"model": "adder", "revision": 1, "state": "loaded"}


async def test_a_load_that_fails_is_told_with_its_reason() -> None:
    world = await make_world(tensor_revision("adder"))
    world.triton.refusals["adder--r1"] = EngineFailed("no such operator")
    with pytest.raises(EngineFailed):
        await world.services.models.load("adder")
    assert world.told()[-1] == ("revision", "adder:1", "failed")
    assert world.events.recorded[-1].payload["reason"] == "no such operator"


async def test_a_death_and_the_healing_are_told_as_health() -> None:
    world = await make_world(tensor_revision("adder"))
    await world.services.models.load("adder")
    world.services.inference.reconciler.suspect(world.services.catalog.status("adder", 1).revision)
    await world.heal()
    assert world.told()[2:] == [
        ("health", "adder:1", "died"),
        ("revision", "adder:1", "loading"),
        ("revision", "adder:1", "loaded"),
        ("health", "adder:1", "healed"),
    ]
    assert "died" in str(world.events.recorded[2].payload["reason"])


async def test_an_import_and_a_purge_are_told_of_the_model() -> None:
    world = await make_world()
    models = world.services.models
    await models.publish(NewRevision("new", Path("anywhere"), "a test"), 1, "lea")
    await models.purge("new")
    assert world.told()[0] == ("model", "new", "imported")
    assert world.told()[-1] == ("model", "new", "purged")
    assert [event.payload for event in world.events.recorded if event.topic.value == "model"] == [
        {"model": "new", "revision": 1, "state": "unloaded"},
        {"model": "new"},
    ]
