"""The README's commands do what it says: each one that can run here is run as it stands, but for the ports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.product import ServerProcess

ROOT = Path(__file__).parents[2]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install -y curl")
# They are what this very test run and the fixture do.
NOT_RUN = ("make serve", "make test")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def runnable() -> list[str]:
    return [block for block in blocks("bash") if not block.startswith(NOT_RUN)]


@pytest.fixture
def environment(product: ServerProcess) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        **product.environment(),
        "PATH": path,
        "KEY": product.admin_key,
        "TRITONPLANE_URL": product.url,
        # `doctor` starts a Triton of its own: it may not want the ports of the server that runs.
        "TRITONPLANE_API_KEY": product.admin_key,
    }


def adapted(text: str, product: ServerProcess) -> str:
    key_file = "~/.local/share/tritonplane/admin.key"
    text = text.replace("http://127.0.0.1:8000", product.url).replace("127.0.0.1:50051", product.grpc_target)
    return text.replace(key_file, str(product.state_dir / "admin.key"))


def test_the_first_screen_has_both_commands_and_the_curl() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:24])
    for wanted in ("make serve", "make test", "curl -N http://127.0.0.1:8000/inference/stream"):
        assert wanted in screen


@needs_curl
@pytest.mark.parametrize("number", range(len(runnable())))
def test_a_block_of_commands_runs(number: int, product: ServerProcess, environment: dict[str, str]) -> None:
    commands = adapted(runnable()[number], product)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.returncode == 0, f"{commands}\n{ran.stdout}\n{ran.stderr}"
    for refusal in ('"error"', "Traceback"):
        assert refusal not in ran.stdout + ran.stderr


@needs_curl
def test_the_curl_streams_tokens_up_to_done(product: ServerProcess, environment: dict[str, str]) -> None:
    (curl,) = [block for block in blocks("bash") if "/inference/stream" in block]
    ran = subprocess.run(
        ["bash", "-c", adapted(curl, product)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    lines = [line for line in ran.stdout.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith('data: {"token":') for line in lines[:-1])


def test_the_python_example_prints_text(product: ServerProcess, environment: dict[str, str]) -> None:
    for code in blocks("python"):
        ran = subprocess.run(
            [sys.executable, "-c", adapted(code, product)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip()
