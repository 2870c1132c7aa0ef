"""`tritonplane setup convert`, with wheels that stand in for those of the real requirements."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doubles.wheels import write_wheel

ROOT = Path(__file__).parents[3]
TRITONPLANE = Path(sys.executable).parent / "tritonplane"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, offline: Path) -> Run:
    def run_it(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TRITONPLANE_STATE_DIR": str(tmp_path / "state"), **variables}
        command = [str(TRITONPLANE), "setup", "convert", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)

    return run_it


@pytest.fixture(scope="session")
def every_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("every_wheel")
    text = "".join((ROOT / "converters" / f"requirements{extra}.txt").read_text() for extra in ("", "-tensorrt-rtx"))
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.MULTILINE):
        write_wheel(folder, name, version)
    return folder


def test_the_shipped_requirements_are_installed_and_told(run: Run, every_wheel: Path, tmp_path: Path) -> None:
    result = run("--with", "tensorrt-rtx", "--json", PIP_FIND_LINKS=str(every_wheel))
    assert result.returncode == 0, result.stderr
    made = json.loads(result.stdout)
    assert made["versions"]["torch"] == "2.13.0"
    assert Path(made["python"]).is_relative_to(tmp_path / "state" / "converter")
    packages = subprocess.run([made["python"], "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "tensorrt_rtx_cu13 " in packages

    again = run("--with", "tensorrt-rtx", PIP_FIND_LINKS="/nowhere")
    assert again.stdout.startswith("conversions run with python 3.")
    assert (again.returncode, again.stderr) == (0, "")


def test_what_pip_said_is_shown_when_it_fails(run: Run) -> None:
    result = run()
    assert (result.returncode, result.stdout) == (1, "")
    assert "ERROR: No matching distribution found" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("tritonplane: the converter environment could not be made: no index or wheel directory")
    assert last.endswith("(NOT_SUPPORTED_HERE)")


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("--with", "tensorrtx"), {}, "no extra 'tensorrtx'; it has: tensorrt, tensorrt-rtx"),
        (("--torch", "tpu"), {}, "'tpu' is not one of"),
        ((), {"TRITONPLANE_CONVERTER_PYTHON": "/usr/bin/python3"}, "unset it to have one made"),
    ],
)
def test_wrong_usage_is_told(run: Run, arguments: tuple[str, ...], variables: dict[str, str], said: str) -> None:
    result = run(*arguments, **variables)
    assert result.returncode == 2
    assert said in result.stderr
