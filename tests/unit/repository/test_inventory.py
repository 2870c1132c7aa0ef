"""What is on disk is believed only when it is whole; the rest is out of Triton's sight."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.repository.directories import PYTHON_CONFIG, Workshop, write_directory


def without_manifest(folder: Path) -> None:
    (folder / "tritonplane.json").unlink()


def with_half_a_manifest(folder: Path) -> None:
    rewrite(folder, (folder / "tritonplane.json").read_text()[:200])


def with_another_s_manifest(folder: Path) -> None:
    rewrite(folder, (folder / "tritonplane.json").read_text().replace('"number": 1', '"number": 2'))


def of_a_later_schema(folder: Path) -> None:
    rewrite(folder, (folder / "tritonplane.json").read_text().replace('"schema": 1', '"schema": 99'))


def without_its_model(folder: Path) -> None:
    (folder / "1/model.onnx").unlink()


def with_a_short_model(folder: Path) -> None:
    (folder / "1/model.onnx").chmod(0o644)
    (folder / "1/model.onnx").write_bytes(b"x")


def without_fields(folder: Path) -> None:
    rewrite(folder, json.dumps({"schema": 1, "model": "mlp"}))


def rewrite(folder: Path, manifest: str) -> None:
    (folder / "tritonplane.json").chmod(0o644)
    (folder / "tritonplane.json").write_text(manifest)


DAMAGES: list[Callable[[Path], None]] = [
    without_manifest,
    with_half_a_manifest,
    with_another_s_manifest,
    of_a_later_schema,
    without_its_model,
    with_a_short_model,
    without_fields,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_revision_that_is_not_whole_goes_to_quarantine(
    workshop: Workshop, mlp: Path, damage: Callable[[Path], None]
) -> None:
    whole = await workshop.publish(mlp, number=2)
    damage(workshop.folder(await workshop.publish(mlp, number=1)))

    assert await workshop.repository.revisions() == (whole,)
    assert workshop.names("repository") == ["mlp--r2"]
    assert [name.split(".")[0] for name in workshop.names("quarantine")] == ["mlp--r1"]


async def test_a_folder_that_somebody_put_there_goes_to_quarantine(workshop: Workshop, mlp: Path) -> None:
    shutil.copytree(mlp, workshop.state / "repository/by-hand")
    (workshop.state / "repository/notes.txt").write_text("x")

    assert await workshop.repository.revisions() == ()
    assert workshop.names("repository") == []


async def test_models_of_the_supervisor_are_left_alone(workshop: Workshop, mlp: Path) -> None:
    shutil.copytree(mlp, workshop.state / "repository/tritonplane-probe")

    assert await workshop.repository.revisions() == ()
    assert workshop.names("repository") == ["tritonplane-probe"]


async def test_what_a_killed_publication_left_is_swept(workshop: Workshop) -> None:
    write_directory(workshop.state / "staging/0123", {"1/model.onnx": b"half"})

    await workshop.repository.revisions()

    assert workshop.names("staging") == []


async def test_a_changed_file_is_found_by_its_hash(workshop: Workshop, mlp: Path) -> None:
    revision = await workshop.publish(mlp)
    model = workshop.folder(revision) / "1/model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.chmod(0o644)
    model.write_bytes(content)
    (workshop.folder(revision) / "config.pbtxt").unlink()
    (workshop.folder(revision) / "1/extra").write_bytes(b"x")

    faults = await workshop.repository.verify(revision)

    assert faults == ("1/model.onnx has changed", "config.pbtxt is missing", "1/extra was not published")


async def test_python_s_cache_is_no_fault(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "m", {"config.pbtxt": PYTHON_CONFIG, "1/model.py": "x = 1\n"})
    revision = await workshop.with_code_allowed().publish(source)
    write_directory(workshop.folder(revision), {"1/__pycache__/model.pyc": b"x"})

    assert await workshop.repository.verify(revision) == ()


async def test_deleting_twice_is_fine(workshop: Workshop, mlp: Path) -> None:
    revision = await workshop.publish(mlp)

    await workshop.repository.delete(revision)
    await workshop.repository.delete(revision)

    assert workshop.is_untouched()
