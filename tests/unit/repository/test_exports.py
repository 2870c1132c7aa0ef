"""What leaves the repository: packed the same each time, whole or not at all, and good to come back."""

from __future__ import annotations

import errno
import hashlib
import zipfile
from pathlib import Path

import pytest

from control_plane.domain.errors import InvalidRequest, NotFound, Unavailable, Unsupported
from control_plane.gateways.repository import exports
from control_plane.gateways.repository.exports import LocalExports
from tests.unit.repository.directories import MLP_CONFIG, ONNX, Workshop, write_directory

EXPORT_ID = "exp_01HZZZZZZZZZZZZZZZZZZZZZZZ"


@pytest.fixture
def shelf(tmp_path: Path) -> LocalExports:
    return LocalExports(tmp_path / "exchange")


async def packed(workshop: Workshop, shelf: LocalExports, mlp: Path, target: Path) -> Path:
    revision = await workshop.publish(mlp)
    folder = target / "folder"
    await workshop.repository.package(revision, folder / revision.model)
    await shelf.pack(folder, target / "mlp.zip")
    return target / "mlp.zip"


async def test_a_packed_model_directory_comes_back_as_the_same_files(
    workshop: Workshop, shelf: LocalExports, mlp: Path, tmp_path: Path
) -> None:
    archive = await packed(workshop, shelf, mlp, tmp_path)
    first = (await workshop.repository.revisions())[0]

    again = await workshop.publish(archive, model="again")

    def files(revision: object) -> dict[str, str]:
        return {one.path: one.sha256 for one in revision.artifacts if one.path != "config.pbtxt"}  # type: ignore[attr-defined]

    assert files(again) == files(first) != {}
    assert (again.description, again.signature) == (first.description, first.signature)
    config = workshop.config(first).replace("mlp--r1", "again--r1")
    assert workshop.config(again) == config


async def test_a_packed_directory_is_named_as_triton_wants_it(
    workshop: Workshop, shelf: LocalExports, mlp: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(await packed(workshop, shelf, mlp, tmp_path)) as archive:
        names = archive.namelist()
        assert b'name: "mlp"' in archive.read("mlp/config.pbtxt")
    assert names == ["mlp/", "mlp/1/", "mlp/1/model.onnx", "mlp/config.pbtxt", "mlp/tritonplane.json"]


async def test_packing_the_same_files_gives_the_same_bytes(shelf: LocalExports, tmp_path: Path) -> None:
    digests = set()
    for number in (1, 2):
        folder = write_directory(tmp_path / f"copy{number}", {"b/2": "two", "a": "one", "b/1": ""})
        (folder / "a").chmod(0o600 + number)
        await shelf.pack(folder, tmp_path / f"{number}.zip")
        digests.add(hashlib.sha256((tmp_path / f"{number}.zip").read_bytes()).hexdigest())
    assert len(digests) == 1


async def test_an_export_is_laid_out_once_and_found_by_its_path(shelf: LocalExports, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "made", {"model.onnx": "graph", "deep/er": "beside"})

    laid = await shelf.put(EXPORT_ID, folder, "model.onnx")

    assert (laid.path, laid.size_bytes) == (f"exports/{EXPORT_ID}/model.onnx", 5)
    assert laid.sha256 == hashlib.sha256(b"graph").hexdigest()
    assert shelf.file(EXPORT_ID, "model.onnx").read_bytes() == b"graph"
    assert shelf.file(EXPORT_ID, "deep/er").read_bytes() == b"beside"
    assert await shelf.put(EXPORT_ID, tmp_path / "gone", "model.onnx") == laid
    await shelf.delete(EXPORT_ID)
    assert await shelf.ids() == []


async def test_only_what_was_exported_counts_as_an_export(shelf: LocalExports, tmp_path: Path) -> None:
    write_directory(tmp_path / "exchange/exports", {"mine/model.onnx": "", "exp_mine/model.onnx": "", "a.txt": ""})
    assert await shelf.ids() == []
    await shelf.put(EXPORT_ID, write_directory(tmp_path / "made", {"a": ""}), "a")
    assert await shelf.ids() == [EXPORT_ID]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exports.os, "link", fail)
    monkeypatch.setattr(exports.shutil, "copyfile", fail)
    monkeypatch.setattr(exports.shutil, "copyfileobj", fail)


@pytest.mark.usefixtures("full_disk")
async def test_a_full_disk_is_told_and_nothing_is_left_behind(shelf: LocalExports, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "made", {"a": "x"})
    with pytest.raises(Unavailable, match="exports is full"):
        await shelf.put(EXPORT_ID, folder, "a")
    assert list((tmp_path / "exchange/exports").iterdir()) == []
    with pytest.raises(Unavailable, match="exports is full"):
        await shelf.pack(folder, tmp_path / "a.zip")


async def test_an_import_root_that_cannot_be_written_is_told(shelf: LocalExports, tmp_path: Path) -> None:
    (tmp_path / "exchange").write_text("no folder")
    with pytest.raises(Unsupported, match="TRITONPLANE_IMPORT_ROOT") as refused:
        await shelf.put(EXPORT_ID, write_directory(tmp_path / "made", {"a": "x"}), "a")
    assert refused.value.details == {"requires": ["writable_import_root"]}


async def test_files_of_a_revision_go_where_they_are_wanted(workshop: Workshop, mlp: Path, tmp_path: Path) -> None:
    revision = await workshop.publish(mlp)
    await workshop.repository.copy(revision, {"1/model.onnx": "net/graph.onnx"}, tmp_path / "out")
    assert (tmp_path / "out/net/graph.onnx").read_bytes() == ONNX
    await workshop.repository.delete(revision)
    with pytest.raises(NotFound, match="mlp:1"):
        await workshop.repository.copy(revision, {"1/model.onnx": "a"}, tmp_path / "out")


def torch_archive(file: Path, *names: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("model.pt", ("m/code/__torch__.py", "m/constants.pkl", "m/data.pkl")),
        ("model.pt2", ("m/archive_format", "m/models/model.json", "m/data/sample_inputs/model.pt")),
    ],
)
async def test_the_torch_module_that_a_model_was_made_of_comes_back_with_it(
    workshop: Workshop, tmp_path: Path, name: str, members: tuple[str, ...]
) -> None:
    folder = write_directory(tmp_path / "m", {"config.pbtxt": MLP_CONFIG, "1/model.onnx": ONNX})
    torch_archive(folder / "source" / name, *members)
    revision = await workshop.publish(folder)
    assert f"source/{name}" in [artifact.path for artifact in revision.artifacts]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("source/model.pt", b"\x80\x02}q\x00."),
        ("source/model.pt", None),
        ("source/other.pt", None),
        ("1/model.pt", None),
        ("source/deep/model.pt", None),
    ],
)
async def test_a_checkpoint_beside_a_model_stays_refused(
    workshop: Workshop, tmp_path: Path, path: str, content: bytes | None
) -> None:
    folder = write_directory(tmp_path / "m", {"config.pbtxt": MLP_CONFIG, "1/model.onnx": ONNX})
    if content is None:
        is_checkpoint = path == "source/model.pt"  # as torch.save lays it out
        members = ("m/data.pkl", "m/data/0") if is_checkpoint else ("m/code/a.py", "m/constants.pkl", "m/data.pkl")
        torch_archive(folder / path, *members)
    else:
        write_directory(folder, {path: content})
    with pytest.raises(InvalidRequest, match="pickle"):
        await workshop.publish(folder)
    assert await workshop.repository.revisions() == ()
