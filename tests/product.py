"""The real server as a process: started by its own command, on free ports, in a state directory of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

TRITONPLANE = Path(sys.executable).parent / "tritonplane"
ROOT = Path(__file__).parents[1]
# Made by the test command beside our own; a server would make one of its own on first need.
CONVERTER = ROOT / ".venv-convert"
CONVERTER_PYTHON = str(CONVERTER / "bin" / "python")
READY_TIMEOUT_S = 90
# To httpx: its default reads every certificate of the system, 25 ms for each new client.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def free_ports(count: int) -> list[int]:
    """Held while the tests run: nobody else on the machine is given one, not even between two lives of a server."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # who does so too may listen where we do not
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.detach()  # the object may go, the socket stays
    return ports


def lent_converter(state_dir: Path) -> dict[str, str]:
    """Settings of a server that finds our converter environment in its state directory, as if it had made it.

    One that is given to it (`CONVERTER_PYTHON`) it looks at anew in each of its lives, which takes three seconds.
    """
    folder = state_dir / "converter" / "lent"
    folder.mkdir(parents=True)
    for part in ("bin", "include", "lib", "pyvenv.cfg"):
        (folder / part).symlink_to(CONVERTER / part)
    requirements = hashlib.sha256((ROOT / "converters" / "requirements.txt").read_bytes()).hexdigest()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "environment.json").write_text(json.dumps({"requirements": requirements, "python": version}))
    return {"CONVERTER_PYTHON": ""}


@dataclass
class ServerProcess:
    """`settings` are TRITONPLANE_ variables without the prefix."""

    state_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        self.port, self.grpc_port = free_ports(2)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def admin_key(self) -> str:
        return (self.state_dir / "admin.key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_key}"}

    @property
    def log(self) -> str:
        return (self.state_dir.parent / f"{self.state_dir.name}.log").read_text()

    @property
    def triton_pid(self) -> int:
        """The tritonserver that is our child now."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return next(child.pid for child in children if "tritonserver" in child.name())

    def environment(self) -> dict[str, str]:
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "GRPC_PORT": str(self.grpc_port)}
        own |= {"STATE_DIR": str(self.state_dir), "CONVERTER_PYTHON": CONVERTER_PYTHON, **self.settings}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRITONPLANE_")}
        return {**inherited, **{f"TRITONPLANE_{name}": value for name, value in own.items()}}

    def start(self, *arguments: str) -> ServerProcess:
        with (self.state_dir.parent / f"{self.state_dir.name}.log").open("a") as log:
            self.process = subprocess.Popen(
                [TRITONPLANE, "serve", *arguments], env=self.environment(), stdout=log, stderr=log, text=True
            )
        return self

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> ServerProcess:
        deadline = time.monotonic() + timeout_s
        with httpx.Client(base_url=self.url, verify=self.trusting()) as http:
            while time.monotonic() < deadline:
                assert self.process is not None
                assert self.process.poll() is None, f"the server ended:\n{self.log[-4000:]}"
                with contextlib.suppress(httpx.TransportError):
                    if http.get("/health/ready").status_code == httpx.codes.OK:
                        return self
                time.sleep(0.05)
        raise AssertionError(f"not ready after {timeout_s} s:\n{self.log[-4000:]}")

    def trusting(self) -> ssl.SSLContext:
        return NO_TLS

    def client(self, **options: Any) -> httpx.Client:
        known: dict[str, Any] = {"base_url": self.url, "headers": self.headers, "timeout": 60}
        known["verify"] = self.trusting()
        return httpx.Client(**known, **options)

    def stop(self, timeout_s: float = 60) -> int:
        """SIGTERM, as an operator would; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
