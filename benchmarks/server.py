"""The product as a process of its own, on free ports, and how much processor time its parts have used."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

TRITONPLANE = Path(sys.executable).parent / "tritonplane"
READY_TIMEOUT_S, STOP_TIMEOUT_S = 120, 60


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Processor seconds since each part started. `machine` is what all processes together have used."""

    front_s: float
    triton_s: float
    machine_s: float


@dataclass(frozen=True, slots=True)
class Server:
    """`triton` is Triton's own gRPC address, on loopback: what the product's clients never see."""

    process: psutil.Process
    http: str
    key: str
    triton_process: psutil.Process
    triton: str

    def cpu_times(self) -> CpuTimes:
        times = psutil.cpu_times()
        busy_s = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
        engine = [self.triton_process, *self.triton_process.children(recursive=True)]
        return CpuTimes(_used_s(self.process), sum(map(_used_s, engine)), busy_s)


@contextmanager
def running_server(state_dir: Path, **settings: str) -> Iterator[Server]:
    """Started and ready; stopped with the block. What it says is in `server.log` beside its state.

    `settings`: TRITONPLANE_ variables without the prefix.
    """
    http_port, grpc_port = _free_ports(2)
    own = {"HOST": "127.0.0.1", "PORT": http_port, "GRPC_PORT": grpc_port, "STATE_DIR": state_dir, **settings}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRITONPLANE_")}
    environment = inherited | {f"TRITONPLANE_{name}": str(value) for name, value in own.items()}
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "server.log").open("w") as log:
        process = subprocess.Popen([TRITONPLANE, "serve"], env=environment, stdout=log, stderr=log)
    try:
        yield _ready(process, f"http://127.0.0.1:{http_port}", state_dir)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)


def _ready(process: subprocess.Popen[bytes], url: str, state_dir: Path) -> Server:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the server did not start:\n{(state_dir / 'server.log').read_text()[-4000:]}")
        time.sleep(0.1)
    front = psutil.Process(process.pid)
    engine = next(child for child in front.children() if child.name() == "tritonserver")
    (port,) = (word.partition("=")[2] for word in engine.cmdline() if word.startswith("--grpc-port="))
    return Server(front, url, (state_dir / "admin.key").read_text().strip(), engine, f"127.0.0.1:{port}")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").is_success
    except httpx.TransportError:
        return False


def _used_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
