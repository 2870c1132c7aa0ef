"""The server beside a Triton that it did not start: shared or read-only, found out by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.product import ServerProcess

PROMPT = {"model_id": "stdlib-coder", "input_data": {"text": "def main("}, "max_length": 5, "temperature": 0}


def target_of(server: ServerProcess) -> str:
    words = psutil.Process(server.triton_pid).cmdline()
    return next(f"127.0.0.1:{word.removeprefix('--grpc-port=')}" for word in words if word.startswith("--grpc-port="))


@pytest.fixture
def beside(product: ServerProcess, tmp_path: Path) -> Iterator[ServerProcess]:
    """A second control plane, on the Triton of the first one."""
    server = ServerProcess(tmp_path / "state", {"TRITON_ENDPOINTS": target_of(product)}).start().wait_ready()
    yield server
    assert server.stop() == 0


def test_a_triton_with_a_repository_of_its_own_is_served_but_not_managed(beside: ServerProcess) -> None:
    with beside.client() as client:
        ready = client.get("/health/ready").json()
        names = {model["model_id"]: model["status"] for model in client.get("/models").json()}
        told = client.post("/inference", json={**PROMPT, "model_id": "stdlib-coder--r1"})
        refusals = [
            client.delete("/models/stdlib-coder--r1"),
            client.post("/models/new/import", files={"file": Path("tests/fixtures/mlp/model.onnx").read_bytes()}),
        ]

    assert ready["services"]["triton"]["repository"] == "read-only"
    assert names["stdlib-coder--r1"] == "loaded"
    assert told.status_code == httpx.codes.OK, told.text
    assert told.json()["output"]["tokens"]
    for refused in refusals:
        assert refused.status_code == httpx.codes.NOT_IMPLEMENTED, refused.text
        assert refused.json()["code"] == "NOT_SUPPORTED_HERE"
        assert "--model-control-mode=explicit" in refused.json()["error"]


def test_more_than_one_endpoint_is_refused_by_name(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "state", {"TRITON_ENDPOINTS": "127.0.0.1:1,127.0.0.1:2"}).start()
    assert server.process is not None

    assert server.process.wait(30) == 1
    assert "exactly one external Triton" in server.log
    assert "Traceback" not in server.log


def test_an_unreachable_triton_leaves_the_server_up_and_saying_so(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "state", {"TRITON_ENDPOINTS": "127.0.0.1:9"}).start()
    try:
        answer = _first_answer(server)
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.json()["status"] == "not_ready"
    finally:
        assert server.stop() == 0


def _first_answer(server: ServerProcess) -> httpx.Response:
    transport = httpx.HTTPTransport(retries=10)
    with httpx.Client(transport=transport, timeout=30) as client:
        return client.get(f"{server.url}/health/ready")
