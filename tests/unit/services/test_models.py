"""Loading, unloading, importing: what a caller gets and what stays true."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from control_plane.domain.errors import (
    Conflict,
    DomainError,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    TimedOut,
    Unavailable,
    Unsupported,
)
from control_plane.domain.models import LoadOptions, ModelFilter, ModelKind, ModelState
from control_plane.domain.paging import Page
from control_plane.services.publishing import NewRevision
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import make_world


async def test_a_loaded_model_is_desired_and_probed() -> None:
    world = await make_world(text_revision("coder"))

    status = await world.services.models.load("coder")

    assert status.state is ModelState.LOADED
    assert status.health.status == "HEALTHY"
    assert status.memory_bytes == 1_000_000
    assert world.services.catalog.get("coder").record.desired == {1}


async def test_loading_what_is_loaded_asks_triton_for_nothing() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.refusals["coder--r1"] = EngineFailed("asked again")

    assert (await world.services.models.load("coder")).state is ModelState.LOADED


async def test_a_failed_load_keeps_tritons_reason_and_is_not_desired() -> None:
    world = await make_world(text_revision("coder"))
    world.triton.refusals["coder--r1"] = EngineFailed("no such operator: Foo")

    with pytest.raises(EngineFailed, match="no such operator"):
        await world.services.models.load("coder")

    model = world.services.catalog.get("coder")
    assert (model.stable.state, model.stable.last_error) == (ModelState.FAILED, "no such operator: Foo")
    assert model.record.desired == frozenset()


async def test_an_unknown_model_is_refused_with_the_closest_name() -> None:
    world = await make_world(text_revision("stdlib-coder"), tensor_revision("mlp"))

    with pytest.raises(ModelNotFound) as refused:
        await world.services.models.load("stdlib-codr")

    assert refused.value.details["suggestion"] == "Use 'stdlib-coder' instead"
    assert refused.value.details["available_models"] == ["mlp", "stdlib-coder"]


@pytest.mark.parametrize(("error", "is_wanted"), [(Unavailable("gone"), True), (TimedOut("busy", timeout_s=1), False)])
async def test_an_unload_that_is_refused_changes_nothing_and_one_that_takes_long_goes_on(
    error: DomainError, is_wanted: bool
) -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")
    world.triton.unloads_fail = error
    with pytest.raises(type(error)):
        await world.services.models.unload("coder")
    assert (world.services.catalog.get("coder").record.desired == {1}) is is_wanted
    assert world.services.catalog.get("coder").stable.state is (
        ModelState.LOADED if is_wanted else ModelState.UNLOADING
    )


async def test_unloading_is_idempotent_and_ends_the_desire() -> None:
    world = await make_world(text_revision("coder"))
    await world.services.models.load("coder")

    for _ in range(2):
        assert (await world.services.models.unload("coder")).state is ModelState.UNLOADED

    assert world.services.catalog.get("coder").record.desired == frozenset()
    assert world.triton.loaded == set()


async def test_other_options_make_a_new_revision_once_and_move_no_alias() -> None:
    world = await make_world(tensor_revision("mlp"))
    options = LoadOptions(max_batch_size=16)

    first = await world.services.models.load("mlp", options)
    again = await world.services.models.load("mlp", options)

    assert (first.revision.number, again.revision.number) == (2, 2)
    assert first.revision.signature.max_batch_size == 16
    assert world.services.catalog.get("mlp").stable.revision.number == 1


async def test_options_that_a_revision_has_already_make_no_new_one() -> None:
    world = await make_world(tensor_revision("mlp"))

    status = await world.services.models.load("mlp", LoadOptions(instance_count=1, max_batch_size=8))

    assert status.revision.number == 1


async def test_settings_that_a_revision_does_not_tell_make_a_new_one() -> None:
    world = await make_world(tensor_revision("mlp"))
    derived = await world.services.models.configure("mlp", LoadOptions(threads=1), "lea")
    assert derived.number == 2


async def test_a_missing_dtype_names_those_there_are() -> None:
    world = await make_world(text_revision("coder"))

    with pytest.raises(InvalidRequest, match="float16") as refused:
        await world.services.models.load("coder", LoadOptions(dtype="float16"))

    assert refused.value.details["available_dtypes"] == ["int8"]


@pytest.mark.parametrize(("backend", "number"), [("onnx", 1), ("python", 1)])
async def test_a_wanted_backend_is_one_of_those_that_execute_it(backend: str, number: int) -> None:
    world = await make_world(text_revision("coder"))

    assert (await world.services.models.load("coder", LoadOptions(backend=backend))).revision.number == number


async def test_a_missing_backend_names_those_there_are() -> None:
    world = await make_world(text_revision("coder"))

    with pytest.raises(InvalidRequest, match="no tensorrt revision") as refused:
        await world.services.models.load("coder", LoadOptions(backend="tensorrt"))

    assert refused.value.details["available_backends"] == ["text_generation"]


async def test_cuda_without_a_gpu_is_not_supported_here() -> None:
    world = await make_world(text_revision("coder"))

    with pytest.raises(Unsupported) as refused:
        await world.services.models.load("coder", LoadOptions(device="cuda"))

    assert refused.value.details["requires"] == ["nvidia_gpu"]


async def test_where_fallback_is_allowed_a_gpu_load_with_other_settings_runs_on_the_cpu() -> None:
    world = await make_world(tensor_revision("mlp"), device_fallback=True)

    status = await world.services.models.load("mlp", LoadOptions(device="cuda", instance_count=2))

    assert (status.state, status.revision.device, status.revision.instance_count) == (ModelState.LOADED, "cpu", 2)


async def test_an_import_is_unloaded_and_the_next_one_a_revision_that_moves_nothing() -> None:
    world = await make_world()
    wanted = NewRevision("mlp", Path("model.onnx"), "upload")

    first = await world.services.models.add(wanted)
    second = await world.services.models.add(wanted)

    model = world.services.catalog.get("mlp")
    assert (first.number, second.number) == (1, 2)
    assert model.record.aliases == {"stable": 1}
    assert [status.state for status in model.revisions] == [ModelState.UNLOADED, ModelState.UNLOADED]


async def test_a_model_that_ships_cannot_be_purged() -> None:
    world = await make_world(text_revision("coder"))

    with pytest.raises(Conflict, match="ships with the product"):
        await world.services.models.purge("coder")


async def test_a_purged_model_is_gone_and_its_revision_numbers_stay_used() -> None:
    world = await make_world()
    wanted = NewRevision("mlp", Path("model.onnx"), "upload")
    await world.services.models.add(wanted)

    await world.services.models.purge("mlp")

    with pytest.raises(ModelNotFound):
        world.services.catalog.get("mlp")
    assert (await world.services.models.add(wanted)).number == 2


async def test_concurrent_loads_of_one_model_load_it_once() -> None:
    world = await make_world(text_revision("coder"))

    statuses = await asyncio.gather(*(world.services.models.load("coder") for _ in range(5)))

    assert {status.state for status in statuses} == {ModelState.LOADED}


async def test_a_reference_names_a_revision_an_alias_or_the_stable_one() -> None:
    world = await make_world(text_revision("coder"), text_revision("coder", 2))
    resolve = world.services.catalog.resolve

    assert [resolve(text).revision.number for text in ("coder", "coder:2", "coder@stable")] == [1, 2, 1]
    for text in ("coder:7", "coder@candidate"):
        with pytest.raises(ModelNotFound):
            resolve(text)
    for text in ("coder:0", "coder:x", "b$(touch x)", "", "a" * 101, "../etc"):
        with pytest.raises(InvalidRequest):
            resolve(text)


async def test_a_list_is_filtered_before_it_is_cut() -> None:
    world = await make_world(text_revision("a"), tensor_revision("b"), tensor_revision("c"))

    listed = world.services.catalog.list(ModelFilter(kind=ModelKind.GENERIC), Page(limit=1, offset=1))

    assert ([model.name for model in listed.items], listed.total) == (["c"], 2)


async def test_a_triton_with_a_repository_of_its_own_is_not_told_to_load_and_its_models_load_as_they_are() -> None:
    world = await make_world(tensor_revision("mlp"), text_revision("coder"))
    await world.services.models.load("mlp")
    world.server.repository = "read-only"

    assert (await world.services.models.load("mlp")).state is ModelState.LOADED
    with pytest.raises(Unsupported):
        await world.services.models.load("coder")
    assert world.services.catalog.resolve("coder").state is ModelState.UNLOADED
    assert world.triton.loads == ["mlp--r1"]


@pytest.mark.parametrize(("left", "stable"), [((1, 2, 4), 2), ((4, 5), 4)])
async def test_where_the_stable_revision_is_lost_the_one_before_it_takes_its_place(
    left: tuple[int, ...], stable: int
) -> None:
    world = await make_world(*(text_revision("coder", number) for number in left), stable={"coder": 3})

    assert world.services.catalog.get("coder").stable.revision.number == stable
    assert [record.aliases for record in await world.store.list()] == [{"stable": stable}]
