"""What is received of Hugging Face directories and torch files, and what of them is refused."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from control_plane.domain.errors import DomainError, InvalidRequest, PayloadTooLarge, UnsupportedFormat
from control_plane.domain.imports import SourceFormat
from control_plane.gateways.repository.safety import ImportLimits
from tests.unit.repository.directories import ONNX, Workshop, write_directory

WEIGHTS = struct.pack("<Q", 2) + b"{}"
HUB: Mapping[str, bytes | str] = {
    "config.json": '{"architectures": ["LlamaForCausalLM"]}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": "{}",
}
PICKLE = pickle.dumps({"a": len})


async def received(workshop: Workshop, source: Path, target: Path) -> tuple[SourceFormat, dict[str, bytes]]:
    found = await workshop.repository.receive(source, source.name, empty(target))
    return found, files_in(target)


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pack(target: Path, files: Mapping[str, bytes | str], **modes: int) -> Path:
    """`modes`: by the file's name before its first point."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = modes.get(Path(name).name.partition(".")[0], 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return target


async def test_of_a_hugging_face_directory_only_what_is_read_is_taken(workshop: Workshop, tmp_path: Path) -> None:
    left_behind = {
        "pytorch_model.bin": PICKLE,
        "modeling_own.py": "import os",
        "onnx/model.onnx": ONNX,
        "openvino/config.json": "{}",
        ".git/config": "x",
        "deep/er/est/config.json": "{}",
        "picture.png": b"\x89PNG",
    }
    beside = {"1_Pooling/config.json": "{}", "merges.txt": "a b", "README.md": "# it"}
    source = write_directory(tmp_path / "hub", {**HUB, **beside, **left_behind})

    found, files = await received(workshop, source, tmp_path / "out")

    assert found is SourceFormat.SAFETENSORS
    assert set(files) == {*HUB, *beside}


@pytest.mark.parametrize("prefix", ["", "hub/"])
async def test_a_zip_of_a_hugging_face_directory_is_received_the_same(
    workshop: Workshop, tmp_path: Path, prefix: str
) -> None:
    files = {
        f"{prefix}{name}": content for name, content in {**HUB, "pytorch_model.bin": PICKLE, "own.py": "x"}.items()
    }

    found, taken = await received(workshop, pack(tmp_path / "hub.zip", files), tmp_path / "out")

    assert (found, set(taken)) == (SourceFormat.SAFETENSORS, set(HUB))


async def test_the_weights_of_a_hugging_face_directory_stand_for_all_of_it(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "hub", HUB)
    found, files = await received(workshop, source / "model.safetensors", tmp_path / "out")
    assert (found, set(files)) == (SourceFormat.SAFETENSORS, set(HUB))


@pytest.mark.parametrize("name", ["net.pt", "net.pt2", "NET.TS"])
async def test_a_torch_file_is_received_unopened_and_never_published_as_it_is(
    workshop: Workshop, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(PICKLE)

    found, files = await received(workshop, tmp_path / name, tmp_path / "out")

    assert (found, files) == (SourceFormat.TORCH, {"model.pt": PICKLE})
    with pytest.raises(UnsupportedFormat, match="must be converted"):
        await workshop.publish(tmp_path / name)
    assert workshop.is_untouched()


def link_shard(source: Path) -> None:
    (source / "model-00002-of-00002.safetensors").symlink_to("/etc/passwd")


def link_config(source: Path) -> None:
    (source / "config.json").unlink()
    (source / "config.json").symlink_to("/etc/hostname")


def link_unread(source: Path) -> None:
    (source / "pytorch_model.bin").symlink_to("/etc/passwd")


def link_folder(source: Path) -> None:
    (source / "1_Pooling").symlink_to("/etc")


def pipe(source: Path) -> None:
    os.mkfifo(source / "tokenizer.txt")


def pickle_as_weights(source: Path) -> None:
    (source / "model.safetensors").write_bytes(PICKLE)


def script_as_tokenizer(source: Path) -> None:
    (source / "tokenizer.json").write_text("#!/bin/sh\n")


def program_as_weights(source: Path) -> None:
    (source / "model.safetensors").write_bytes(b"\x7fELF\x02")


def checkpoint_as_weights(source: Path) -> None:
    with zipfile.ZipFile(source / "model.safetensors", "w") as archive:
        archive.writestr("m/data.pkl", PICKLE)


def executable_weights(source: Path) -> None:
    (source / "model.safetensors").chmod(0o755)


def odd_name(source: Path) -> None:
    (source / "a;rm -rf b.json").write_text("{}")


@pytest.mark.parametrize(
    ("plant", "sentence"),
    [
        (link_shard, "'model-00002-of-00002.safetensors' is a symbolic link"),
        (link_config, "'config.json' is a symbolic link"),
        (link_unread, "'pytorch_model.bin' is a symbolic link"),
        (link_folder, "'1_Pooling' is a symbolic link"),
        (pipe, "neither a file nor a folder"),
        (pickle_as_weights, "'model.safetensors' is a pickle"),
        (script_as_tokenizer, "'tokenizer.json' is a script"),
        (program_as_weights, "'model.safetensors' is a program"),
        (checkpoint_as_weights, "is an archive with code or a pickle"),
        (executable_weights, "'model.safetensors' is marked executable"),
        (odd_name, "cannot be the name"),
    ],
)
async def test_a_hostile_hugging_face_directory_is_refused(
    workshop: Workshop, tmp_path: Path, plant: Callable[[Path], None], sentence: str
) -> None:
    source = write_directory(tmp_path / "hub", HUB)
    plant(source)
    with pytest.raises(InvalidRequest, match=sentence):
        await received(workshop, source, tmp_path / "out")


LINK = stat.S_IFLNK | 0o777
ARCHIVES: dict[str, tuple[Mapping[str, bytes | str], dict[str, int], type[DomainError], str]] = {
    "up": ({**HUB, "../up.json": "x"}, {}, InvalidRequest, "leads out of"),
    "up, unread": ({**HUB, "../../up.bin": "x"}, {}, InvalidRequest, "leads out of"),
    "up below": ({**HUB, "1_Pooling/../../up.json": "x"}, {}, InvalidRequest, "leads out of"),
    "absolute": ({**HUB, "/etc/cron.d/own.json": "x"}, {}, InvalidRequest, "leads out of"),
    "windows": ({**HUB, "..\\up.json": "x"}, {}, InvalidRequest, "leads out of"),
    "link": (HUB, {"tokenizer": LINK}, InvalidRequest, "'tokenizer.json' is a symbolic link"),
    "link, unread": ({**HUB, "own.bin": "/etc"}, {"own": LINK}, InvalidRequest, "'own.bin' is a symbolic link"),
    "device": (HUB, {"config": stat.S_IFCHR | 0o644}, InvalidRequest, "neither a file nor a folder"),
    "executable": (HUB, {"model": 0o100755}, InvalidRequest, "is marked executable"),
    "pickle": ({**HUB, "model.safetensors": PICKLE}, {}, InvalidRequest, "'model.safetensors' is a pickle"),
    "bomb": ({**HUB, "vocab.txt": bytes(70 * 2**20)}, {}, PayloadTooLarge, "over 100 times its size"),
    "torch file": ({"model.pt": PICKLE}, {}, UnsupportedFormat, "is no model that can be imported"),
    "zip of a zip": ({"hub.zip": b"PK\x05\x06" + bytes(18)}, {}, UnsupportedFormat, "is no model"),
    "pickled weights": ({"config.json": "{}", "model.bin": PICKLE}, {}, UnsupportedFormat, "weights are not opened"),
    "weights alone": ({"model.safetensors": WEIGHTS}, {}, UnsupportedFormat, "config.json must lie beside them"),
}


@pytest.mark.parametrize("case", ARCHIVES)
async def test_a_hostile_zip_of_a_hugging_face_directory_is_refused(
    workshop: Workshop, tmp_path: Path, case: str
) -> None:
    files, modes, error, sentence = ARCHIVES[case]
    packed = pack(tmp_path / "m.zip", files, **modes)
    with pytest.raises(error, match=sentence):
        await received(workshop, packed, tmp_path / "out")
    assert not any("up." in name for name in files_in(tmp_path))


async def test_a_member_that_is_larger_than_it_says_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    packed = pack(tmp_path / "m.zip", {**HUB, "vocab.txt": bytes(3 * 2**20)})
    content = packed.read_bytes()
    size = struct.pack("<I", 3 * 2**20)
    assert content.count(size) == 2  # in the member's own header, and in the directory at the end
    packed.write_bytes(content.replace(size, struct.pack("<I", 100)))
    with pytest.raises(InvalidRequest, match="is no zip file that can be read"):
        await received(workshop, packed, tmp_path / "out")


async def test_a_torch_file_that_is_a_link_or_a_pipe_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "link.pt").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.pt")
    for number, name in enumerate(["link.pt", "pipe.pt"]):
        with pytest.raises(InvalidRequest, match=r"symbolic link|neither a file"):
            await received(workshop, tmp_path / name, tmp_path / f"out{number}")


async def test_a_torch_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    workshop = Workshop.open(tmp_path / "state", limits=ImportLimits(file_bytes=1000))
    (tmp_path / "net.pt").write_bytes(bytes(1001))
    with pytest.raises(PayloadTooLarge, match="over 1000 bytes"):
        await received(workshop, tmp_path / "net.pt", tmp_path / "out")
