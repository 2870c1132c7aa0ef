"""A pipeline's life with a real Triton: parts come first, stay while they are called, die, are healed, and go."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from control_plane.domain.errors import Conflict, EngineCrashed, InvalidRequest, Unavailable
from control_plane.domain.images import Drawing, DrawingStep, Drawn
from control_plane.domain.models import HealthStatus, ModelState
from control_plane.services.publishing import NewRevision
from tests.doubles.image_models import LABELS, write_diffusion, write_hybrid, write_unet
from tests.integration.pipelines.conftest import Gallery
from tests.triton import is_crashed, is_ready

CIRCLE = Drawing("shapes", num_steps=4, num_images=2, seed=7, label="circle")
SEVEN = Drawing("painter", "a seven", num_steps=4, seed=7)


async def ready_in_triton(gallery: Gallery) -> set[str]:
    index = await gallery.triton.control.index()
    return {entry.directory for entry in index if entry.state == "READY" and "--r" in entry.directory}


def stub_of(gallery: Gallery, directory: str) -> psutil.Process:
    """The process that executes a model directory."""
    pid = gallery.triton.supervisor.pid
    assert pid is not None
    children = psutil.Process(pid).children(recursive=True)
    living = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return next(child for child in living if any(f"/{directory}/" in part for part in child.cmdline()))


@asynccontextmanager
async def watched(gallery: Gallery) -> AsyncIterator[None]:
    """While dead models are looked for and healed."""
    watch = asyncio.create_task(gallery.reconciler.watch(interval_s=60))
    try:
        yield
    finally:
        watch.cancel()


async def test_a_pipeline_brings_its_parts_and_draws(gallery: Gallery) -> None:
    status = await gallery.models.load("painter")

    assert (status.state, status.health.status) == (ModelState.LOADED, HealthStatus.HEALTHY)
    assert await ready_in_triton(gallery) == {"painter--r1", "unet--r1", "encoder--r1"}
    items = [item async for item in gallery.drawings.stream(SEVEN)]
    assert items[:-1] == [DrawingStep(step, 4) for step in range(1, 5)]
    assert isinstance(items[-1], Drawn)
    assert [stage.model for stage in items[-1].stages] == ["encoder:1", "unet:1"]
    assert (await gallery.drawings.draw(SEVEN)).images == items[-1].images


async def test_a_pipeline_knows_its_labels_and_draws_by_them(gallery: Gallery) -> None:
    await gallery.models.load("shapes")

    drawn = await gallery.drawings.draw(CIRCLE)

    assert (len(drawn.images), drawn.width, drawn.height) == (2, 8, 8)
    assert gallery.catalog.get("shapes").stable.revision.description.classes == LABELS
    with pytest.raises(InvalidRequest, match="no label 'star'; its labels are 'circle', 'square'"):
        await gallery.drawings.draw(Drawing("shapes", label="star"))


async def test_a_new_revision_of_a_part_changes_no_pipeline(gallery: Gallery) -> None:
    before = await gallery.drawings.draw(CIRCLE)
    await gallery.models.add(NewRevision("unet", gallery.sources / "unet", "a test"))
    await gallery.models.promote("unet:2")

    assert (await gallery.drawings.draw(CIRCLE)).images == before.images
    assert gallery.catalog.get("shapes").stable.revision.parts == ("unet--r1",)


async def test_a_part_in_use_stays_and_the_refusal_names_who_uses_it(gallery: Gallery) -> None:
    with pytest.raises(Conflict, match="cannot unload unet:1: it is a part of painter:1, shapes:1"):
        await gallery.models.unload("unet:1")
    with pytest.raises(Conflict, match="cannot purge encoder:1: it is a part of painter:1"):
        await gallery.models.purge("encoder")

    assert (await gallery.drawings.draw(SEVEN)).images


async def test_a_part_that_dies_is_healed_and_the_same_image_comes_again(gallery: Gallery) -> None:
    before = await gallery.drawings.draw(CIRCLE)
    async with watched(gallery):
        stub_of(gallery, "unet--r1").kill()
        with pytest.raises(Unavailable) as refused:
            await gallery.drawings.draw(Drawing("shapes", num_steps=50))
        assert refused.value.message == "the model 'unet:1', which this one calls, is not loaded or has died"
        await _until_loaded(gallery, "unet:1")

    assert gallery.catalog.resolve("shapes").state is ModelState.LOADED
    assert (await gallery.drawings.draw(CIRCLE)).images == before.images


async def test_a_sampler_that_dies_while_it_draws_ends_the_drawing_and_is_healed(gallery: Gallery) -> None:
    before = await gallery.drawings.draw(CIRCLE)
    async with watched(gallery):
        stream = gallery.drawings.stream(Drawing("shapes", num_steps=50, num_images=16))
        await anext(stream)
        stub_of(gallery, "shapes--r1").kill()
        with pytest.raises(EngineCrashed):
            async with asyncio.timeout(10):
                _ = [item async for item in stream]
        await _until_loaded(gallery, "shapes:1")

    assert (await gallery.drawings.draw(CIRCLE)).images == before.images


async def _until_loaded(gallery: Gallery, reference: str) -> None:
    async with asyncio.timeout(20):
        while gallery.catalog.resolve(reference).state is not ModelState.LOADED:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.02)


async def test_after_a_crash_of_triton_pipelines_come_back_with_their_parts(gallery: Gallery) -> None:
    before, supervisor = await gallery.drawings.draw(SEVEN), gallery.triton.supervisor
    assert supervisor.pid is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    await supervisor.wait_until(is_crashed, 5)
    await supervisor.wait_until(is_ready, 20)

    assert await ready_in_triton(gallery) == {"painter--r1", "shapes--r1", "unet--r1", "encoder--r1"}
    assert (await gallery.drawings.draw(SEVEN)).images == before.images


async def test_parts_go_with_the_last_pipeline_that_calls_them(gallery: Gallery) -> None:
    await gallery.models.unload("painter")
    assert await ready_in_triton(gallery) == {"shapes--r1", "unet--r1"}
    await gallery.models.unload("shapes")
    assert await ready_in_triton(gallery) == set()


@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        ("sketch", "nobody", "names the part 'nobody', and there is no model named 'nobody'; import the parts"),
        ("sketch", "unet:9", "names the part 'unet:9', and model 'unet' has no unet:9"),
        ("sketch", "shapes", "names the part 'shapes', which is a pipeline itself"),
        ("unet", "unet", "names the part 'unet', which belongs to the same model"),
        ("encoder", "unet", "revision encoder:1 calls no other model, and this one differs"),
        ("sketch", "encoder", "names encoder:1 as its part.unet, which must take sample FP32"),
        ("sketch", "; touch x", "is no model reference|cannot name a model"),
    ],
)
async def test_a_pipeline_that_names_what_it_cannot_call_is_refused(
    gallery: Gallery, tmp_path: Path, name: str, part: str, said: str
) -> None:
    before = {status.revision.directory for status in gallery.catalog.statuses()}

    with pytest.raises(InvalidRequest, match=said):
        await gallery.models.add(NewRevision(name, write_diffusion(tmp_path / "m", part), "a test"))

    assert {status.revision.directory for status in gallery.catalog.statuses()} == before
    assert {path.name for path in gallery.triton.repository.iterdir() if "--r" in path.name} == before


async def test_a_pipeline_cannot_become_a_plain_model(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="revision painter:1 calls other models, and this one differs"):
        await gallery.models.add(NewRevision("painter", write_unet(tmp_path / "m"), "a test"))


async def test_an_exported_pipeline_can_be_imported_again(gallery: Gallery, tmp_path: Path) -> None:
    source = write_hybrid(tmp_path / "m", "unet:1", "encoder")
    again = await gallery.models.add(NewRevision("painter", source, "a test"))
    assert (again.number > 1, again.parts) == (True, ("encoder--r1", "unet--r1"))
