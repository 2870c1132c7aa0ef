"""Real onnxruntime in a real child: what honest files say, and that hostile ones end in one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest
from control_plane.domain.models import Signature, TensorSpec
from control_plane.gateways.processes.converter import ConverterInspector
from control_plane.ports import OnnxModel
from tests.doubles.onnx_files import (
    BFLOAT16,
    COMPLEX64,
    INT64,
    STRING,
    adder,
    graph,
    model,
    node,
    relu,
    sequence,
    tensor,
    value,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"


async def inspect(path: Path) -> OnnxModel:
    return await ConverterInspector().inspect(path)


def onnx_file(folder: Path, content: bytes) -> Path:
    (folder / "m.onnx").write_bytes(content)
    return folder / "m.onnx"


async def test_the_mlp_says_its_signature_and_weights() -> None:
    inspected = await inspect(FIXTURES / "mlp/model.onnx")

    assert inspected == OnnxModel(
        Signature(
            (TensorSpec("features", "FP32", (-1, 8)),), (TensorSpec("scores", "FP32", (-1, 3)),), max_batch_size=32
        ),
        parameters=8 * 16 + 16 + 16 * 3 + 3,
        dtype="float32",
        opset=17,
    )


async def test_a_decoder_with_packed_weights_opens() -> None:
    inspected = await inspect(FIXTURES / "tiny_text_model/1/model.onnx")

    assert inspected.dtype == "int8"
    assert TensorSpec("logits", "FP32", (-1, -1, 353)) in inspected.signature.outputs


@pytest.mark.parametrize(
    ("shape", "max_batch_size"),
    [
        (("batch", 4), 32),
        (("N", "features"), 32),
        ((1, 4), 0),
        ((2, "n"), 0),
        (("n",), 0),
        (("sequence_length", 4), 0),
        (("num_frames", 80), 0),
    ],
)
async def test_a_batch_axis_is_one_symbol_that_is_no_sequence(
    tmp_path: Path, shape: tuple[int | str, ...], max_batch_size: int
) -> None:
    inspected = await inspect(onnx_file(tmp_path, relu(shape)))

    assert inspected.signature.max_batch_size == max_batch_size
    assert inspected.signature.inputs[0].shape == tuple(size if isinstance(size, int) else -1 for size in shape)


async def test_two_free_axes_of_different_names_are_no_batch(tmp_path: Path) -> None:
    two = [value("x", ["rows", 4]), value("w", [4, 4])]
    content = model(graph([node("MatMul", ["x", "w"], ["y"])], two, [value("y", ["rows", 4])]))

    assert (await inspect(onnx_file(tmp_path, content))).signature.max_batch_size == 0


async def test_text_and_integers_have_triton_s_names(tmp_path: Path) -> None:
    inputs = [value("a", [2], STRING), value("b", [2], INT64)]
    outputs = [value("c", [2], STRING), value("d", [2], INT64)]
    content = model(graph([node("Identity", ["a"], ["c"]), node("Identity", ["b"], ["d"])], inputs, outputs))

    inspected = await inspect(onnx_file(tmp_path, content))

    assert [spec.datatype for spec in inspected.signature.inputs] == ["BYTES", "INT64"]
    assert (inspected.parameters, inspected.dtype) == (0, "string")


async def test_weights_beside_the_graph_are_read(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(bytes(16))

    assert (await inspect(onnx_file(tmp_path, adder(tensor("w", [4], location="w.data"))))).parameters == 4


def no_plan(_: Path) -> None:
    """Nothing lies beside the graph."""


def secrets_by_link(folder: Path) -> None:
    (folder / "w.data").symlink_to("/etc/passwd")


HOSTILE: dict[str, tuple[bytes, Callable[[Path], None], str]] = {
    "cut short": (adder(tensor("w", [4]))[:-30], no_plan, "no ONNX model, or is cut short"),
    "a page": (b"<html>not found</html>", no_plan, "no ONNX model"),
    "empty": (b"", no_plan, "no ONNX model"),
    "up": (adder(tensor("w", [4], location="../../../etc/passwd")), no_plan, "outside its own folder"),
    "absolute": (adder(tensor("w", [4], location="/etc/passwd")), no_plan, "outside its own folder"),
    "link": (adder(tensor("w", [4], location="w.data")), secrets_by_link, "not beside it"),
    "absent weights": (adder(tensor("w", [4], location="w.data")), no_plan, "its weights are in 'w.data'"),
    "unknown operator": (
        model(graph([node("Explode", ["x"], ["y"])], [value("x", [1])], [value("y", [1])])),
        no_plan,
        "onnxruntime cannot open it.*Explode",
    ),
    "too few bytes": (
        adder(tensor("w", [1 << 20], raw=b"1234"), ("n", 1 << 20)),
        no_plan,
        "onnxruntime cannot open it",
    ),
    "impossible size": (
        adder(tensor("w", [1 << 40, 1 << 20], raw=b"1234"), (1 << 40, 1 << 20)),
        no_plan,
        "m.onnx cannot be used",
    ),
    "complex": (
        model(graph([node("Identity", ["x"], ["y"])], [value("x", [1], COMPLEX64)], [value("y", [1], COMPLEX64)])),
        no_plan,
        "m.onnx cannot be used",
    ),
    "sequence": (
        model(graph([node("SequenceConstruct", ["x"], ["y"])], [value("x", [1])], [sequence("y", [1])])),
        no_plan,
        r"output 'y' has the type seq\(tensor\(float\)\), which Triton cannot carry",
    ),
    "no outputs": (model(graph([], [value("x", [1])], [])), no_plan, "its graph has no outputs"),
    "bfloat16 where there is no kernel": (relu(datatype=BFLOAT16), no_plan, "m.onnx cannot be used"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_file_ends_in_one_sentence_without_our_paths(tmp_path: Path, case: str) -> None:
    content, prepare, sentence = HOSTILE[case]
    prepare(tmp_path)

    with pytest.raises(InvalidRequest, match=sentence) as caught:
        await inspect(onnx_file(tmp_path, content))

    assert str(tmp_path) not in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600


def child(tmp_path: Path, script: str) -> ConverterInspector:
    """An inspector whose Python is a shell script."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return ConverterInspector(str(program), timeout_s=1)


@pytest.mark.parametrize(
    ("script", "error", "sentence"),
    [
        ("exec sleep 60", InvalidRequest, "opening it took over 1 s"),
        ("kill -SEGV $$", InvalidRequest, "stopped by SIGSEGV"),
        ("echo noise; echo 'No module named x' >&2", EngineFailed, "gave no answer: No module named x"),
        ("exit 1", EngineFailed, "gave no answer"),
    ],
)
async def test_a_child_that_does_not_answer_is_told_from_a_bad_file(
    tmp_path: Path, script: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await child(tmp_path, script).inspect(FIXTURES / "mlp/model.onnx")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_what_a_library_prints_never_mixes_with_the_events() -> None:
    code = """
import os
from converters.__main__ import private_stdout
with private_stdout() as events:
    print("noise", flush=True)
    os.write(1, b"more noise")
    events.write("event")
"""
    ended = run_python(code)

    assert (ended.stdout, ended.returncode) == ("event", 0)
    assert "noise" in ended.stderr
    assert "more noise" in ended.stderr


def test_a_confined_child_cannot_take_the_machine_s_memory() -> None:
    ended = run_python("from converters.limits import confine; confine(0); bytearray(8 * 2**30)")

    assert ended.returncode == 1
    assert "MemoryError" in ended.stderr


def test_the_command_line_says_how_it_is_used() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "converters", "dance"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "usage: python -m converters inspect PATH" in ended.stderr
