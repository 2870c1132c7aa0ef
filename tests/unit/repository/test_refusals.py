"""Each thing that is wrong with an import has one sentence, and leaves nothing behind."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from control_plane.domain.errors import DomainError, InvalidRequest, Unsupported
from control_plane.domain.models import Signature, TensorSpec
from control_plane.gateways.repository.safety import check_path
from control_plane.ports import OnnxModel
from tests.doubles.inspector import KnownInspector
from tests.unit.repository.directories import BACKENDS, MLP_CONFIG, ONNX, PYTHON_CONFIG, Workshop, write_directory

MLP_FILES: Mapping[str, bytes | str] = {"config.pbtxt": MLP_CONFIG, "1/model.onnx": ONNX}


async def refusal(workshop: Workshop, source: Path) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await workshop.publish(source)
    assert workshop.is_untouched()
    assert str(workshop.state) not in caught.value.message
    return caught.value


CONFIGS = {
    "backend: 7": "config.pbtxt, line 1: .*[Ss]tring",
    'backend: "onnxruntime" colour: "red"': 'config.pbtxt, line 1: .*no field named "colour"',
    "\x00\x01": "config.pbtxt, line 1",
    MLP_CONFIG.replace("FP32 dims: [ 8 ]", "BF16 dims: [ 8 ]"): "input 'features' is BF16",
    MLP_CONFIG.replace("data_type: TYPE_FP32 dims: [ 3 ]", "dims: [ 3 ]"): "output 'scores' has no data_type",
    MLP_CONFIG.replace("[ 3 ]", "[ 0 ]"): r"output 'scores' has dims \[0\]",
    MLP_CONFIG.replace("[ 8 ]", "[ 9 ]"): r"input 'features': config.pbtxt says FP32 \[-1, 9\].*model.onnx says FP32",
    MLP_CONFIG.replace('"features"', '"pixels"'): "lists the input 'pixels', which model.onnx does not have",
    MLP_CONFIG.replace("FP32 dims: [ 3 ]", "INT64 dims: [ 3 ]"): "output 'scores': config.pbtxt says INT64",
    MLP_CONFIG.replace("max_batch_size: 16", "max_batch_size: -1"): "max_batch_size",
    MLP_CONFIG
    + "model_warmup [ { name: 'w' batch_size: 1 } ]": "sets model_warmup, which is refused: .*takes the whole",
    MLP_CONFIG + "model_repository_agents { agents { name: 'x' } }": "sets model_repository_agents",
    MLP_CONFIG + "model_operations { op_library_filename: 'x.so' }": "sets model_operations",
    MLP_CONFIG + "version_policy { all {} }": "version_policy",
    MLP_CONFIG + "version_policy { latest { num_versions: 2 } }": "version_policy",
    MLP_CONFIG + "default_model_filename: '../../../etc/passwd'": "names the model file",
    MLP_CONFIG + "default_model_filename: 'other.onnx'": "must hold other.onnx",
    MLP_CONFIG + "instance_group [ { count: 1000 } ]": "count must be 1 to 64, got 1000",
    MLP_CONFIG + "parameters { key: 'EXECUTION_ENV_PATH' value { string_value: '/x.tar' } }": "EXECUTION_ENV_PATH",
    MLP_CONFIG + 'platform: "tensorrt_plan"': "contradicts itself",
    MLP_CONFIG.replace("backend", "platform"): "unknown platform 'onnxruntime'",
    MLP_CONFIG.replace('backend: "onnxruntime"', ""): "names no backend",
}


@pytest.mark.parametrize("config", CONFIGS, ids=CONFIGS.values())
async def test_a_configuration_that_cannot_work_is_refused_in_one_sentence(
    workshop: Workshop, tmp_path: Path, config: str
) -> None:
    source = write_directory(tmp_path / "m", {**MLP_FILES, "config.pbtxt": config})

    error = await refusal(workshop, source)

    assert isinstance(error, InvalidRequest)
    assert len(error.message) < 400
    assert "\n" not in error.message
    with pytest.raises(InvalidRequest, match=CONFIGS[config]):
        raise error


async def test_a_backend_that_is_not_here_is_unsupported_and_the_known_ones_are_named(
    workshop: Workshop, tmp_path: Path
) -> None:
    config = MLP_CONFIG.replace('"onnxruntime"', '"tensorflow"')
    error = await refusal(workshop, write_directory(tmp_path / "m", {**MLP_FILES, "config.pbtxt": config}))

    assert isinstance(error, Unsupported)
    assert error.details == {"requires": ["tensorflow"], "known": sorted(BACKENDS)}


async def test_a_gpu_model_on_a_machine_without_gpu_is_unsupported(workshop: Workshop, tmp_path: Path) -> None:
    config = MLP_CONFIG + "instance_group [ { kind: KIND_GPU } ]"
    source = write_directory(tmp_path / "m", {**MLP_FILES, "config.pbtxt": config})

    error = await refusal(workshop, source)

    assert isinstance(error, Unsupported)
    assert error.details == {"requires": ["nvidia_gpu"]}
    with_gpu = Workshop.open(tmp_path / "gpu", has_gpu=True)
    assert (await with_gpu.publish(source)).device == "cuda"


async def test_an_input_that_the_configuration_leaves_out_is_named(tmp_path: Path) -> None:
    needs_two = Signature(
        (TensorSpec("features", "FP32", (-1, 8)), TensorSpec("mask", "BOOL", (-1, 8))),
        (TensorSpec("scores", "FP32", (-1, 3)),),
    )
    workshop = Workshop.open(tmp_path / "state", KnownInspector(OnnxModel(needs_two, 0, "float32", 17)))

    error = await refusal(workshop, write_directory(tmp_path / "m", MLP_FILES))

    assert error.message == "model.onnx needs the input 'mask', which config.pbtxt does not list"


async def test_a_scalar_output_of_a_bare_file_says_how_to_serve_it(tmp_path: Path) -> None:
    scalar = Signature((TensorSpec("x", "FP32", (-1, 8)),), (TensorSpec("loss", "FP32", ()),))
    workshop = Workshop.open(tmp_path / "state", KnownInspector(OnnxModel(scalar, 0, "float32", 17)))
    (tmp_path / "net.onnx").write_bytes(ONNX)

    assert "reshape" in (await refusal(workshop, tmp_path / "net.onnx")).message


DIRECTORIES: dict[str, tuple[Mapping[str, bytes | str], str]] = {
    "two versions": ({**MLP_FILES, "2/model.onnx": ONNX}, "has 2 versions"),
    "no version": ({"config.pbtxt": MLP_CONFIG}, "no version folder"),
    "nothing": ({"README.md": "hello"}, "is no model that can be imported: give a Triton model directory"),
    "no model": ({"config.pbtxt": MLP_CONFIG, "1/other.onnx": ONNX}, "must hold model.onnx"),
    "hidden file": ({**MLP_FILES, ".ssh/key": "x"}, "not hidden"),
    "odd name": ({**MLP_FILES, "1/a;b": "x"}, "cannot be the name"),
    "trailing space": ({**MLP_FILES, "1/a ": "x"}, "cannot be the name"),
    "deep": ({**MLP_FILES, "/".join("abcdefghij"): "x"}, "folders deep"),
    "python": ({**MLP_FILES, "1/model.py": "x = 1"}, "'1/model.py' is code.*TRITONPLANE_IMPORT_ALLOW_CODE"),
    "library": ({**MLP_FILES, "1/libx.so.1": b"x"}, "'1/libx.so.1' is code"),
    "pickle by name": ({**MLP_FILES, "1/weights.pth": b"x"}, "may be a pickle"),
    "pickle": ({**MLP_FILES, "1/weights": pickle.dumps({"a": len})}, "'1/weights' is a pickle"),
    "pickle, old": ({**MLP_FILES, "1/notes.txt": b"cos\nsystem\n(S'id'\ntR."}, "'1/notes.txt' is a pickle"),
    "script": ({**MLP_FILES, "1/run": "#!/bin/sh\n"}, "is a script"),
    "program": ({**MLP_FILES, "1/run.dat": b"\x7fELF\x02"}, "is a program"),
    "bytecode": ({**MLP_FILES, "1/cache.dat": b"\xa7\x0d\r\n\x00"}, "bytecode"),
    "carried manifest": ({**MLP_FILES, "tritonplane.json": '{"kind": "poem"}'}, "tritonplane.json of the import"),
    "carried nonsense": ({**MLP_FILES, "tritonplane.json": "[" * 100_000}, "tritonplane.json of the import"),
}


@pytest.mark.parametrize("case", DIRECTORIES)
async def test_a_directory_that_cannot_be_taken_is_refused(workshop: Workshop, tmp_path: Path, case: str) -> None:
    files, sentence = DIRECTORIES[case]

    error = await refusal(workshop, write_directory(tmp_path / "m", files))

    with pytest.raises(InvalidRequest, match=sentence):
        raise error


def link_to_secrets(source: Path) -> None:
    (source / "1/notes.txt").symlink_to("/etc/passwd")


def link_to_folder(source: Path) -> None:
    (source / "etc").symlink_to("/etc")


def pipe(source: Path) -> None:
    os.mkfifo(source / "1/pipe")


def own_stub(source: Path) -> None:
    (source / "triton_python_backend_stub").write_bytes(b"x")


@pytest.mark.parametrize(
    ("plant", "sentence"),
    [
        (link_to_secrets, "'1/notes.txt' is a symbolic link"),
        (link_to_folder, "'etc' is a symbolic link"),
        (pipe, "neither a file nor a folder"),
        (own_stub, "would replace the process"),
    ],
)
async def test_links_and_special_files_are_refused_even_where_code_is_allowed(
    workshop: Workshop, tmp_path: Path, plant: Callable[[Path], None], sentence: str
) -> None:
    source = write_directory(tmp_path / "m", MLP_FILES)
    plant(source)

    error = await refusal(workshop.with_code_allowed(), source)

    with pytest.raises(InvalidRequest, match=sentence):
        raise error


async def test_an_executable_file_is_code(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "m", MLP_FILES)
    (source / "1/model.onnx").chmod(0o755)

    assert "is marked executable" in (await refusal(workshop, source)).message


async def test_a_torch_archive_under_another_name_is_code(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "m", MLP_FILES)
    with zipfile.ZipFile(source / "1/weights.dat", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")

    assert "archive with code or a pickle" in (await refusal(workshop, source)).message


@pytest.mark.parametrize(
    "content",
    [b"cat\ndog\nbird\n", b"", b"{}\r\n", b"\x80 not a pickle", bytes(600), b"ice\ncream\n", b"PK is no archive"],
)
async def test_files_that_only_look_like_code_are_taken(workshop: Workshop, tmp_path: Path, content: bytes) -> None:
    source = write_directory(tmp_path / "m", {**MLP_FILES, "1/labels.txt": content})

    revision = await workshop.publish(source)

    assert (workshop.folder(revision) / "1/labels.txt").read_bytes() == content


@pytest.mark.parametrize("path", ["../up", "/etc/x", "1//x", "a\\b", ".x", "1/..", "", "model\n"])
def test_a_file_may_not_be_written_outside(path: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name"):
        check_path(path)


async def test_a_python_model_needs_its_code(workshop: Workshop, tmp_path: Path) -> None:
    source = write_directory(tmp_path / "m", {"config.pbtxt": PYTHON_CONFIG, "1/weights.safetensors": b"x"})

    assert "must hold model.py" in (await refusal(workshop.with_code_allowed(), source)).message
