"""A real tritonserver over the backends of this checkout, one for the whole session."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.product import free_ports

PROJECT = Path(__file__).resolve().parents[2]
BACKENDS = ("diffusion", "onnxruntime", "probe", "text_encoder", "text_generation")
ONE_THREAD = {"parameters": {"threads": {"string_value": "1"}}}  # as a model configuration says it


@dataclass(frozen=True)
class RunningTriton:
    """Where it listens, and the repository that tests may add models to."""

    address: str
    metrics_url: str
    repository: Path
    log: Path

    def load(self, name: str) -> InferenceServerClient:
        client = InferenceServerClient(self.address)
        client.load_model(name, client_timeout=120)
        return client


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    state = tmp_path_factory.mktemp("triton")
    repository = state / "models"
    repository.mkdir()
    _prepare_backends(state / "backends")
    ports = free_ports(3)
    log = state / "triton.log"
    with log.open("wb") as output:
        server = subprocess.Popen(_command(state, ports), stdout=output, stderr=output, env=_environment())
    running = RunningTriton(f"127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}/metrics", repository, log)
    try:
        _wait_until_live(running, server)
        yield running
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _pytriton() -> Path:
    spec = importlib.util.find_spec("pytriton")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tritonserver"


def _prepare_backends(backends: Path) -> None:
    python = backends / "python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copy(_pytriton() / "backends" / "python" / name, python / name)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    # A link, since the stub finds its libraries relative to where it really lies.
    (python / stub).symlink_to(_pytriton() / "python_backend_stubs" / version / stub)
    for backend in BACKENDS:
        (backends / backend).symlink_to(PROJECT / "triton_backends" / backend)


def _command(state: Path, ports: list[int]) -> list[str]:
    return [
        str(_pytriton() / "bin" / "tritonserver"),
        f"--model-repository={state / 'models'}",
        f"--backend-directory={state / 'backends'}",
        "--model-control-mode=explicit",
        "--strict-readiness=false",
        "--exit-timeout-secs=10",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        f"--http-port={ports[0]}",
        f"--grpc-port={ports[1]}",
        f"--metrics-port={ports[2]}",
        "--allow-gpu-metrics=false",
        f"--backend-config=python,shm-region-prefix-name=tests_{os.getpid()}_",
    ]


def _environment() -> dict[str, str]:
    return {
        # Triton's stub takes the interpreter from the first python3 on the path.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
    }


def _wait_until_live(running: RunningTriton, server: subprocess.Popen[bytes]) -> None:
    client = InferenceServerClient(running.address)
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            if client.is_server_live():
                return
        except InferenceServerException:
            time.sleep(0.05)
    pytest.fail(f"tritonserver did not start:\n{running.log.read_text()[-2000:]}")
