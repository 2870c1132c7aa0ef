"""What must be true before a tritonserver is started; each fault is refused by name instead of a load that hangs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
from pathlib import Path

from control_plane.domain.errors import Unavailable, Unsupported
from control_plane.domain.paths import is_safe_path
from control_plane.gateways.processes.spawn import run_child
from control_plane.gateways.triton import process_record
from control_plane.gateways.triton.backend_directory import build_backend_directory
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.installation import Installation, libpython_remedy
from control_plane.gateways.triton.leftovers import clean_up
from control_plane.gateways.triton.selftest import install_probe
from control_plane.gateways.triton.server_process import LOOPBACK, Ports, environment

log = logging.getLogger(__name__)
STUB_TIMEOUT_S = 20
STUB_USAGE_CODE = 1


async def preflight(config: TritonConfig, installation: Installation) -> None:
    """Raises: Unsupported naming what is missing."""
    check_path(config.state_dir)
    for shell in ("bash", "sh"):
        if shutil.which(shell) is None:
            raise Unsupported(f"Triton starts its stubs through {shell}, which is not on PATH", requires=shell)
    await check_stub(config, installation)


def check_path(state_dir: Path) -> None:
    if not is_safe_path(state_dir):
        raise Unsupported(
            f"the state directory {str(state_dir)!r} holds a character that Triton would hand to a shell",
            requires="a state directory of letters, digits, '_', '.', '-' and '/'",
        )


async def check_stub(config: TritonConfig, installation: Installation) -> None:
    """Run without arguments it must exit with 1; else Triton would take away its permissions and hang on loads."""
    result = await run_child(
        [str(installation.stub)], env=environment(config, installation), timeout_s=STUB_TIMEOUT_S, cwd=config.state_dir
    )
    if result.returncode != STUB_USAGE_CODE:
        why = " ".join(result.stderr.decode(errors="replace").split())[-300:] or f"exit code {result.returncode}"
        remedy = libpython_remedy() if "libpython" in why else "a whole nvidia-pytriton"
        raise Unsupported(f"Triton's Python stub does not run: {why}", requires=remedy)


def is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def pick_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def take_ports(config: TritonConfig) -> Ports:
    """The configured ports, or free ones. Raises: Unavailable naming a port that another program holds."""
    for purpose, port in (("gRPC", config.grpc_port), ("metrics", config.metrics_port)):
        if port and not is_free(port):
            raise Unavailable(f"port {port}, for Triton's {purpose}, is in use by another program", port=port)
    return Ports(config.grpc_port or pick_port(), config.metrics_port or pick_port())


def prepare_disk(config: TritonConfig, installation: Installation) -> None:
    """No trace of an earlier life; the backends and the self-test's model in their places."""
    left = process_record.reap(config.record)
    if left:
        log.warning("ended a Triton of an earlier life", extra={"pids": left})
    clean_up(config)
    config.environments.mkdir()
    build_backend_directory(config.backends, installation)
    install_probe(config)
