"""Starting, crashing, stopping: the server as a process, with a real Triton below it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.product import TRITONPLANE, ServerProcess

PROMPT = {"model_id": "stdlib-coder", "input_data": {"text": "def main("}, "max_length": 12, "temperature": 0}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One state directory through several lives, as on a real machine."""
    server = ServerProcess(tmp_path_factory.mktemp("life") / "state")
    yield server
    if server.process is not None and server.process.poll() is None:
        server.kill()


@pytest.fixture
def server(life: ServerProcess) -> ServerProcess:
    """In the life that the test before left it in, or else in a new one."""
    if life.process is None or life.process.poll() is not None:
        life.start()
    return life.wait_ready()


def generate(server: ServerProcess) -> str:
    with server.client() as client:
        answer = client.post("/inference", json=PROMPT).raise_for_status().json()
    text = answer["output"]["text"]
    assert isinstance(text, str)
    return text


def long_stream(server: ServerProcess, max_length: int = 900) -> Iterator[str]:
    body = {**PROMPT, "max_length": max_length, "temperature": 1.8, "top_p": 1.0, "seed": 5}
    with server.client() as client, client.stream("POST", "/inference/stream", json=body) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield line.removeprefix("data: ")


def test_first_start_leaves_secrets_that_only_the_owner_reads(product: ServerProcess) -> None:
    for name in ("admin.key", "jwt.secret"):
        assert (product.state_dir / name).stat().st_mode & 0o777 == 0o600
    assert "curl" in product.log
    assert "/inference/stream" in product.log


def test_triton_listens_on_loopback_only(product: ServerProcess) -> None:
    listening = [c.laddr.ip for c in psutil.Process(product.triton_pid).net_connections() if c.status == "LISTEN"]
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_the_server_takes_as_many_open_files_as_it_may(product: ServerProcess) -> None:
    assert product.process is not None
    soft, hard = psutil.Process(product.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard or soft >= 65_536


def test_a_second_server_on_the_state_directory_is_refused_in_one_sentence(product: ServerProcess) -> None:
    second = ServerProcess(product.state_dir)
    ended = subprocess.run(
        [TRITONPLANE, "serve"], env=second.environment(), capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 1
    said = ended.stderr.strip().splitlines()
    assert len(said) == 1
    assert str(product.process and product.process.pid) in said[0]


def test_a_port_that_is_taken_is_named(product: ServerProcess, tmp_path: Path) -> None:
    other = ServerProcess(tmp_path / "state")
    other.port = product.port
    ended = subprocess.run(
        [TRITONPLANE, "serve"], env=other.environment(), capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 1
    assert str(product.port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_after_kill_9_of_triton_the_server_is_ready_again_with_its_models(server: ServerProcess) -> None:
    before = generate(server)
    os.kill(server.triton_pid, signal.SIGKILL)
    killed_at = time.monotonic()
    time.sleep(0.3)

    server.wait_ready(10)

    assert generate(server) == before
    assert time.monotonic() - killed_at < 10


def test_a_dead_model_process_is_healed(server: ServerProcess) -> None:
    before = generate(server)
    for stub in psutil.Process(server.triton_pid).children(recursive=True):
        if "stdlib-coder" in " ".join(stub.cmdline()):
            stub.kill()
    refused = httpx.codes.OK
    deadline = time.monotonic() + 30
    with server.client() as client:
        while time.monotonic() < deadline:
            answer = client.post("/inference", json=PROMPT)
            if answer.status_code == httpx.codes.OK:
                break
            refused = answer.status_code
            assert answer.status_code in (500, 503), answer.text
            time.sleep(0.1)

    assert refused != httpx.codes.OK
    assert generate(server) == before


def test_after_kill_9_of_the_server_no_orphan_is_left_and_the_next_start_is_clean(server: ServerProcess) -> None:
    before = generate(server)
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.kill()

    _, alive = psutil.wait_procs(children, timeout=3)
    # What nobody has reaped yet is no longer running.
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []

    server.start().wait_ready()
    assert generate(server) == before
    assert server.stop() == 0
    assert list(Path("/dev/shm").glob("*tritonplane*")) == [] or _none_are_ours(server)


def _none_are_ours(server: ServerProcess) -> bool:
    marker = str(server.state_dir)
    return all(marker not in path.name for path in Path("/dev/shm").iterdir())


def test_x_life_06_what_was_unloaded_stays_unloaded_after_a_restart(server: ServerProcess) -> None:
    with server.client() as client:
        client.post("/native/v1/models/stdlib-coder/unload").raise_for_status()
    assert server.stop() == 0

    server.start().wait_ready()
    with server.client() as client:
        assert client.get("/models/stdlib-coder").json()["status"] == "unloaded"
        assert client.post("/inference", json=PROMPT).status_code == httpx.codes.CONFLICT
        client.post("/native/v1/models/stdlib-coder/load").raise_for_status()


def test_a_graceful_stop_finishes_streams_and_refuses_new_work(server: ServerProcess) -> None:
    stream = long_stream(server, max_length=1000)
    assert server.process is not None
    with server.client() as client:
        client.get("/health/ready").raise_for_status()
        pieces = [next(stream)]
        server.process.send_signal(signal.SIGTERM)
        while (ready := client.get("/health/ready")).status_code == httpx.codes.OK:
            pass
        refused = client.post("/inference", json=PROMPT)
    pieces += list(stream)

    assert ready.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert int(refused.headers["retry-after"]) >= 1
    assert pieces[-1] == "[DONE]"
    assert json.loads(pieces[-2])["is_final"] is True
    assert server.process.wait(60) == 0


def test_a_stream_that_outlasts_the_drain_is_told_and_the_exit_is_clean(life: ServerProcess) -> None:
    server = ServerProcess(life.state_dir, {"DRAIN_SECONDS": "1"}).start().wait_ready()
    stream = long_stream(server, max_length=1000)
    pieces = [next(stream)]
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)

    pieces += list(stream)

    assert json.loads(pieces[-2]).get("code") == "PIPELINE_UNAVAILABLE" or json.loads(pieces[-2]).get("is_final")
    assert pieces[-1] == "[DONE]"
    assert server.process.wait(60) == 0


def test_a_second_signal_exits_at_once(server: ServerProcess) -> None:
    reader = threading.Thread(target=lambda: _exhaust(long_stream(server, max_length=1000)), daemon=True)
    reader.start()
    time.sleep(0.5)
    assert server.process is not None
    triton = psutil.Process(server.triton_pid)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(3) != 0
    triton.wait(3)


def _exhaust(stream: Iterator[str]) -> None:
    try:
        for _ in stream:
            pass
    except httpx.TransportError:
        pass
