"""The command line as a process of its own: pipes, terminals, signals, and what it brings into memory."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doubles.plane import Miniature

HEAVY = ("httpx", "pydantic", "fastapi", "uvicorn", "sqlalchemy", "grpc", "tritonclient", "numpy")
TRITONPLANE = str(Path(sys.executable).parent / "tritonplane")


@pytest.fixture
def environment(plane: Miniature, state_dir: Path) -> dict[str, str]:
    return {**os.environ, "TRITONPLANE_URL": plane.url, "TRITONPLANE_STATE_DIR": str(state_dir)}


def run(environment: dict[str, str], *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRITONPLANE, *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )


def test_help_and_version_bring_none_of_the_heavy_modules() -> None:
    asked = f"import sys, control_plane.cli.app; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=30, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_module_and_the_command_are_one(environment: dict[str, str]) -> None:
    as_module = subprocess.run(
        [sys.executable, "-m", "control_plane", "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    assert as_module.stdout == run(environment, "--version").stdout
    assert as_module.stdout.startswith("tritonplane 0.")


def test_completion_is_offered_for_the_shell(environment: dict[str, str]) -> None:
    shown = run({**environment, "SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}, "--help")
    assert "--install-completion" in shown.stdout
    words = {"COMP_WORDS": "tritonplane models l", "COMP_CWORD": "2", "_TRITONPLANE_COMPLETE": "complete_bash"}
    assert run({**environment, **words}).stdout.split() == ["list", "load"]


def test_text_from_a_pipe_goes_into_a_pipe_unchanged(environment: dict[str, str]) -> None:
    result = run(environment, "infer", "coder", "-", stdin="def f")
    assert result.stdout == "def f(x):\n    return x\u2028é\n"
    assert (result.returncode, "9 tokens in" in result.stderr) == (0, True)


def test_a_terminal_that_cannot_show_a_letter_does_not_end_the_command(environment: dict[str, str]) -> None:
    shown = subprocess.run(
        [TRITONPLANE, "infer", "coder", "x", "-q"],
        env={**environment, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert shown.stdout == b"def f(x):\n    return x?\xe9\n"


def test_ctrl_c_stops_the_generation_and_exits_with_130(environment: dict[str, str], plane: Miniature) -> None:
    command = [TRITONPLANE, "infer", "coder", "!endless"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"def f"
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"Traceback" not in complaint
    assert plane.stream_left.wait(5)


def test_a_reader_that_leaves_ends_the_command_and_the_generation(
    environment: dict[str, str], plane: Miniature
) -> None:
    command = [TRITONPLANE, "infer", "coder", "x", "--max-tokens", "9"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complaint = process.stderr.read()
        process.wait(10)
    assert process.returncode == 1
    assert b"Traceback" not in complaint


def test_a_terminal_shows_the_progress_of_an_upload(environment: dict[str, str], tmp_path: Path) -> None:
    model = tmp_path / "big.onnx"
    model.write_bytes(bytes(8 * 2**20))
    shown = _on_a_terminal(environment, "models", "import", str(model), "--name", "big")
    assert "big.onnx" in shown
    assert "8.4/8.4 MB" in shown
    assert "imported big" in shown


def _on_a_terminal(environment: dict[str, str], *arguments: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [TRITONPLANE, *arguments], env={**environment, "TERM": "xterm", "COLUMNS": "120"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how a pseudo-terminal says that the other side is closed
        pass
    process.wait(30)
    os.close(ours)
    return shown.decode()
