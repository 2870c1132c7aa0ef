"""Exports as jobs: what is converted and what is not, where it lies, and when it is forgotten."""

from __future__ import annotations

import asyncio
import hashlib
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from ulid import ULID

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import EngineFailed, ModelNotFound, NotFound, UnsupportedFormat
from control_plane.domain.exports import Export, ExportFormat
from control_plane.domain.jobs import JobKind, JobState
from control_plane.domain.models import Artifact, Revision
from control_plane.services.jobs import NewJob
from tests.doubles.repository import tensor_revision
from tests.doubles.services import World, make_world

ADMIN = Principal("somebody", Role.ADMIN)
HUB = ("config.pbtxt", "1/model.onnx", "source/config.json", "source/model.safetensors")


def hub_revision(name: str) -> Revision:
    return tensor_revision(name, artifacts=tuple(Artifact(path, 1, "a" * 64) for path in HUB))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await make_world(tensor_revision("adder"), hub_revision("hub"), import_root=tmp_path)


async def exported(world: World, reference: str, wanted: str) -> tuple[Export, Path]:
    exports = world.services.exports
    made = await exports.finished(await exports.submit(reference, ExportFormat(wanted), ADMIN))
    found, file = await exports.file(made.id)
    assert found == made
    return made, file


async def test_a_graph_is_exported_without_a_converter(world: World, tmp_path: Path) -> None:
    made, file = await exported(world, "adder", "onnx")

    assert file.read_bytes() == b"1/model.onnx"
    assert file == tmp_path / made.file_path
    assert (made.model, made.revision, made.file_name, made.size_bytes) == ("adder", 1, "model.onnx", 12)
    assert made.sha256 == hashlib.sha256(b"1/model.onnx").hexdigest()
    assert made.created_at == world.clock.now()
    assert not world.converter.is_prepared


async def test_a_whole_model_is_zipped_in_a_folder_of_its_name(world: World) -> None:
    made, file = await exported(world, "adder:1", "triton")

    assert made.file_name == "adder.zip"
    assert zipfile.ZipFile(file).namelist() == ["adder/", "adder/1/", "adder/1/model.onnx", "adder/config.pbtxt"]
    assert not world.converter.is_prepared
    assert (await exported(world, "adder", "triton"))[0].sha256 == made.sha256


async def test_weights_lie_beside_what_says_what_they_are_of(world: World) -> None:
    _, file = await exported(world, "hub", "safetensors")

    assert {path.name for path in file.parent.iterdir()} == {"config.json", "model.safetensors"}
    assert not world.converter.is_prepared


async def test_what_must_be_converted_is_converted_from_the_files_it_takes(world: World) -> None:
    world.converter.files = {"1/model.pt": b"module"}

    _, file = await exported(world, "hub", "torchscript")

    assert file.read_bytes() == b"module"
    [request] = world.converter.requests
    assert request["steps"] == [{"recipe": "hf_to_torchscript", "parameters": {}}]
    assert Path(str(request["source"])).name == "source"


async def test_nothing_of_an_export_stays_in_its_workspace(world: World) -> None:
    made, _ = await exported(world, "adder", "triton")
    assert list((world.workspaces.root / made.id.replace("exp_", "job_")).iterdir()) == []


async def test_what_cannot_be_told_at_once_fails_the_job(world: World) -> None:
    exports = world.services.exports
    world.converter.failure = EngineFailed("the converter died")
    job = await exports.submit("hub", ExportFormat.TORCHSCRIPT, ADMIN)

    with pytest.raises(EngineFailed, match="the converter died") as failed:
        await exports.finished(job)

    assert failed.value.details["job_id"] == job.id
    with pytest.raises(NotFound):
        await exports.file(job.id.replace("job_", "exp_"))


async def test_what_can_be_told_at_once_makes_no_job(world: World) -> None:
    for reference, error in (("adder", UnsupportedFormat), ("nobody", ModelNotFound)):
        with pytest.raises(error):
            await world.services.exports.submit(reference, ExportFormat.TORCHSCRIPT, ADMIN)
    assert world.workspaces.ids() == []


@pytest.mark.parametrize("export_id", ["exp_", "exp_01HZZZZZZZZZZZZZZZZZZZZZZZ", "../../etc", "job_{0}", "{0}"])
async def test_what_is_no_export_is_not_found(world: World, export_id: str) -> None:
    made, _ = await exported(world, "adder", "onnx")
    with pytest.raises(NotFound):
        await world.services.exports.file(export_id.format(made.id.removeprefix("exp_")))


async def test_another_kind_of_job_is_no_export(world: World) -> None:
    made, _ = await exported(world, "adder", "onnx")
    other = NewJob(f"job_{ULID()}", JobKind.CONFIGURE, "adder", {"base": 1, "config": {}})
    await world.services.jobs.submit(other, ADMIN)
    await world.services.jobs.wait(other.id)
    with pytest.raises(NotFound):
        await world.services.exports.file(other.id.replace("job_", "exp_"))
    assert made.id


async def test_a_file_that_an_operator_deleted_is_not_found(world: World) -> None:
    made, file = await exported(world, "adder", "onnx")
    file.unlink()
    with pytest.raises(NotFound, match=made.id):
        await world.services.exports.file(made.id)


async def test_exports_whose_jobs_are_forgotten_are_swept(world: World, tmp_path: Path) -> None:
    now = world.clock.now()
    kept, _ = await exported(world, "adder", "onnx")
    ids = {days: f"exp_{ULID.from_datetime(now - timedelta(days=days))}" for days in (1, 31)}
    for export_id in ids.values():
        (tmp_path / "exports" / export_id).mkdir()

    await world.services.exports.sweep()

    # A younger one may be of another server with the same import root.
    assert {path.name for path in (tmp_path / "exports").iterdir()} == {kept.id, ids[1]}


async def test_what_a_cancelled_export_left_is_swept(world: World, tmp_path: Path) -> None:
    exports = world.services.exports
    world.converter.gate = asyncio.Event()
    job = await exports.submit("hub", ExportFormat.TORCHSCRIPT, ADMIN)
    await world.converter.half_way.wait()
    job = await world.services.jobs.cancel(job.id, ADMIN)
    assert job.state is JobState.CANCELLED
    left = tmp_path / "exports" / job.id.replace("job_", "exp_")
    left.mkdir(parents=True)

    await exports.sweep()

    assert not left.exists()
