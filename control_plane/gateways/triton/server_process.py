"""One life of a tritonserver process: its command line, its environment, its log, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from control_plane.gateways.processes.spawn import guard_group, kill_group, let_die_first, spawn
from control_plane.gateways.triton import process_record
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.failures import sanitized
from control_plane.gateways.triton.installation import Installation

LOG_MAX_BYTES = 10 * 2**20
LOG_TAIL_BYTES = 32 * 2**10
LOOPBACK = "127.0.0.1"
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True)
class Ports:
    grpc: int
    metrics: int

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.grpc}"


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """`name` is what this life calls itself, so that another server on the port is not taken for it."""

    process: Process
    guard: Process
    ports: Ports
    name: str
    environment: Mapping[str, str]
    log: Path
    log_start: int

    @property
    def pid(self) -> int:
        return self.process.pid

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM, then SIGKILL for the whole group: Triton's own exit can hang with a request that leaked."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.process.wait()
        await self.kill()

    async def kill(self) -> None:
        """The group at once: stubs would outlive their server by seconds, one stuck in native code for ever."""
        if self.guard.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.guard.kill()
        kill_group(self.pid)
        await asyncio.shield(asyncio.gather(self.process.wait(), self.guard.wait()))

    def epitaph(self, returncode: int) -> str:
        """How it ended, fit for a client."""
        if returncode < 0:
            return f"Triton was ended by signal {-returncode}"
        words = self.last_words()
        return f"Triton exited with code {returncode}" + (f": {words}" if words else "")

    def last_words(self) -> str:
        """The last error of this life's log, fit for a client."""
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, end - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if (line[:1] == "E" or "rror:" in line) and "NVML" not in line]
        return _message(errors[-1]) if errors else ""


async def start(
    config: TritonConfig, installation: Installation, ports: Ports, name: str, prefix: str
) -> ServerProcess:
    log_start = _rotate(config.log)
    env = environment(config, installation)
    with config.log.open("ab") as log:
        process = await spawn(
            command_line(config, installation, ports, name, prefix),
            env=env,
            cwd=config.state_dir,
            stdout=log,
            stderr=log,
        )
    if config.dies_first:  # before it starts what executes models, which inherits it
        let_die_first(process.pid)
    process_record.write(config.record, process.pid, installation.server, prefix)
    return ServerProcess(process, await guard_group(process.pid), ports, name, env, config.log, log_start)


def command_line(
    config: TritonConfig, installation: Installation, ports: Ports, name: str, prefix: str
) -> tuple[str, ...]:
    """Loopback only, no HTTP: what a stranger may ask goes through us. Readiness is per model, not of the server.

    Auto-completion would start every model twice, for 1.8 s more each; our repository holds whole configurations.
    """
    return (
        str(installation.server),
        f"--id={name}",
        f"--model-repository={config.repository}",
        f"--backend-directory={config.backends}",
        f"--cache-directory={installation.caches}",
        "--model-control-mode=explicit",
        "--strict-readiness=false",
        "--exit-on-error=false",
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={config.exit_timeout_s}",
        "--allow-http=false",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={ports.grpc}",
        "--allow-metrics=true",
        f"--metrics-address={LOOPBACK}",
        f"--metrics-port={ports.metrics}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
    )


def environment(config: TritonConfig, installation: Installation) -> dict[str, str]:
    """The stub's embedded Python ignores PYTHONPATH; it finds our packages through the `python3` first on PATH."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # NVIDIA's image finds CUDA and its backends through it; the wheel's server carries what it needs.
    inherited = [os.environ["LD_LIBRARY_PATH"]] if config.binary and "LD_LIBRARY_PATH" in os.environ else []
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return {
        "LANG": "C.UTF-8",
        **kept,
        **config.environment,
        "PATH": path,
        "LD_LIBRARY_PATH": os.pathsep.join((str(installation.python_libraries), *inherited)),
    }


def _rotate(log: Path) -> int:
    """Keep one old log; gives the size at which this life's lines begin."""
    log.parent.mkdir(parents=True, exist_ok=True)
    size = log.stat().st_size if log.exists() else 0
    if size <= LOG_MAX_BYTES:
        return size
    log.replace(log.with_name(log.name + ".1"))
    return 0


def _message(line: str) -> str:
    """The text of a log line: `E1121 07:46:53.843102 6846 file.cc:255] "text"`."""
    _, has_frame, text = line.partition('] "')
    return sanitized(text.removesuffix('"') if has_frame else line)
