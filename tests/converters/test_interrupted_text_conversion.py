"""A conversion goes on where it was interrupted, and its script makes the same bytes elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.converters.conversions import convert
from tests.converters.tiny_language_models import write_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("llama", tmp_path_factory.mktemp("model") / "source")


def test_finished_steps_are_found_again(source: Path, tmp_path: Path) -> None:
    first = convert(source, tmp_path, precision="q8")
    steps = sorted((tmp_path / "steps").iterdir())
    assert [step.name for step in steps] == ["00-causal_lm_to_onnx", "01-onnx_weight_only"]
    written = [(step / "step.json").stat().st_ino for step in steps]
    shutil.rmtree(tmp_path / "model")

    second = convert(source, tmp_path, precision="q8")

    assert [(step / "step.json").stat().st_ino for step in steps] == written
    assert second == first
    assert (tmp_path / "model/1/model.onnx").is_file()


def test_a_step_that_was_interrupted_is_done_anew(source: Path, tmp_path: Path) -> None:
    first = convert(source, tmp_path, precision="q8")
    done, broken = sorted((tmp_path / "steps").iterdir())
    (broken / "step.json").unlink()
    (broken / "files/model.onnx").write_bytes(b"half")
    written = (done / "step.json").stat().st_ino

    second = convert(source, tmp_path, precision="q8")

    assert (done / "step.json").stat().st_ino == written
    assert digests(second) == digests(first)


def digests(converted: object) -> list[object]:
    return [step["outputs"] for step in converted.record["steps"]]  # type: ignore[attr-defined]


def test_the_script_makes_the_same_files_in_an_empty_folder(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "work", precision="q4")
    environment = os.environ | {"TRITONPLANE_CONVERTER_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}

    made = subprocess.run(
        ["sh", str(tmp_path / "work/reproduce.sh"), str(source), str(tmp_path / "again")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert made.returncode == 0, made.stderr[-2000:]
    assert "model/1/model.onnx: OK" in made.stdout
    assert '"event": "converted"' in made.stdout
