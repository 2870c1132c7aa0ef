"""A zip file says what a model is made of, never where its files go."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from control_plane.domain.errors import DomainError, InvalidRequest, PayloadTooLarge
from tests.unit.repository.directories import MLP_CONFIG, ONNX, Workshop

FILES: Mapping[str, bytes | str] = {"config.pbtxt": MLP_CONFIG, "1/model.onnx": ONNX}


def pack(target: Path, files: Mapping[str, bytes | str], *, mode: int = 0o100644) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return target


@pytest.mark.parametrize("prefix", ["", "mlp/"])
@pytest.mark.parametrize("version", ["1", "12"])
async def test_a_zip_of_a_model_directory_is_imported(
    workshop: Workshop, tmp_path: Path, prefix: str, version: str
) -> None:
    files = {prefix: b"", f"{prefix}config.pbtxt": MLP_CONFIG, f"{prefix}{version}/model.onnx": ONNX}

    revision = await workshop.publish(pack(tmp_path / "mlp.zip", {name: files[name] for name in files if name}))

    assert [artifact.path for artifact in revision.artifacts] == ["1/model.onnx", "config.pbtxt"]
    assert (workshop.folder(revision) / "1/model.onnx").read_bytes() == ONNX


async def test_a_zip_of_a_version_folder_alone_is_imported(workshop: Workshop, tmp_path: Path) -> None:
    revision = await workshop.publish(pack(tmp_path / "mlp.zip", {"1/model.onnx": ONNX}))

    assert revision.backend == "onnxruntime"


HOSTILE: dict[str, tuple[Mapping[str, bytes | str], int, type[DomainError], str]] = {
    "up": ({**FILES, "../../up": "x"}, 0o100644, InvalidRequest, "leads out of"),
    "absolute": ({**FILES, "/tmp/x": "x"}, 0o100644, InvalidRequest, "leads out of"),
    "windows": ({**FILES, "1\\..\\x": "x"}, 0o100644, InvalidRequest, "leads out of"),
    "code": ({**FILES, "1/model.py": "x"}, 0o100644, InvalidRequest, "'1/model.py' is code"),
    "link": ({"1/model.onnx": "/etc/passwd"}, stat.S_IFLNK | 0o777, InvalidRequest, "is a symbolic link"),
    "device": ({"1/model.onnx": ""}, stat.S_IFBLK | 0o644, InvalidRequest, "neither a file nor a folder"),
    "executable": (FILES, 0o100755, InvalidRequest, "is marked executable"),
    "bomb": ({**FILES, "1/zeros": bytes(70 * 2**20)}, 0o100644, PayloadTooLarge, "over 100 times its size"),
    "two versions": ({**FILES, "2/model.onnx": ONNX}, 0o100644, InvalidRequest, "has 2 versions"),
    "file and folder": ({**FILES, "1/model.onnx/x": "x"}, 0o100644, InvalidRequest, "a file and a folder at once"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_archive_is_refused_and_nothing_is_left(workshop: Workshop, tmp_path: Path, case: str) -> None:
    files, mode, error, sentence = HOSTILE[case]

    with pytest.raises(error, match=sentence):
        await workshop.publish(pack(tmp_path / "m.zip", files, mode=mode))

    assert workshop.is_untouched()
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize("keep", [0.5, 0.9])
async def test_half_an_archive_is_refused(workshop: Workshop, tmp_path: Path, keep: float) -> None:
    packed = pack(tmp_path / "m.zip", FILES)
    packed.write_bytes(packed.read_bytes()[: int(keep * packed.stat().st_size)])

    with pytest.raises(InvalidRequest, match=r"'m\.zip' is no zip file"):
        await workshop.publish(packed)


async def test_a_damaged_member_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    packed = pack(tmp_path / "m.zip", {**FILES, "1/weights.dat": bytes(range(256)) * 40})
    content = bytearray(packed.read_bytes())
    content[content.index(b"1/weights.dat") + 20] ^= 0xFF
    packed.write_bytes(content)

    with pytest.raises(InvalidRequest, match=r"'m\.zip' is no zip file"):
        await workshop.publish(packed)
    assert workshop.is_untouched()
