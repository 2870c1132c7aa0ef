"""Whether Triton can run here: one function per thing that can be wrong, each with a reason and a remedy."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from control_plane.domain.diagnosis import Finding
from control_plane.domain.errors import DomainError
from control_plane.domain.paths import is_safe_path
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.gateways.triton.backend_directory import our_backends
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.installation import (
    PYTHON,
    find_installation,
    library_directory,
)
from control_plane.gateways.triton.interpreter import look
from control_plane.gateways.triton.preflight import check_path, check_stub, is_free
from control_plane.gateways.triton.selftest import stub_environment
from control_plane.gateways.triton.server_process import environment
from control_plane.gateways.triton.shared_memory import SEGMENTS
from control_plane.gateways.triton.supervisor import Supervisor
from control_plane.ports import Clock

Check = Callable[[TritonConfig], Awaitable[Finding]]
EXPECTED_BACKENDS = frozenset({"probe", "onnxruntime", "text_generation", "text_encoder"})
SHARED_MEMORY_MIN_BYTES = 64 * 2**20  # 1 MiB a model instance at rest; tensors in flight come on top
DISK_MIN_BYTES = 2 * 2**30
ROUND_TRIP_S = 60


async def interpreter(config: TritonConfig) -> Finding:
    """The Python that Triton's stub embeds must be ours, with a numpy older than 2."""
    try:
        view = await look(environment(config, find_installation(config.binary)))
    except DomainError as error:
        return Finding("interpreter", False, error.message, _remedy(error))
    return Finding("interpreter", not view.fault, view.fault or view.told, view.remedy)


async def libpython(config: TritonConfig) -> Finding:
    """The stub links the libpython of our interpreter, and starts with it."""
    try:
        folder = library_directory()
        with tempfile.TemporaryDirectory() as scratch:
            await check_stub(replace(config, state_dir=Path(scratch)), find_installation(config.binary))
    except DomainError as error:
        return Finding("libpython", False, error.message, _remedy(error))
    return Finding("libpython", True, f"found in {folder}; Triton's stub for Python {PYTHON} starts")


async def glibc(config: TritonConfig) -> Finding:
    told = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    if not told:
        return Finding("glibc", False, "this system has no glibc; Triton's binary needs one", "use Debian or Ubuntu")
    return Finding("glibc", True, f"glibc {told}")


async def shared_memory(config: TritonConfig) -> Finding:
    """Every model instance exchanges tensors with Triton through /dev/shm."""
    if not SEGMENTS.is_dir() or not os.access(SEGMENTS, os.W_OK):
        return Finding("shared memory", False, f"{SEGMENTS} is not there or not writable", f"mount tmpfs on {SEGMENTS}")
    free = shutil.disk_usage(SEGMENTS).free
    if free < SHARED_MEMORY_MIN_BYTES:
        return Finding(
            "shared memory",
            False,
            f"{SEGMENTS} has {_mib(free)} free, at least {_mib(SHARED_MEMORY_MIN_BYTES)} are needed",
            "in a container: --shm-size=1g; in Kubernetes: an emptyDir with medium Memory",
        )
    return Finding("shared memory", True, f"{SEGMENTS} has {_mib(free)} free")


async def disk(config: TritonConfig) -> Finding:
    place = next(folder for folder in (config.state_dir, *config.state_dir.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < DISK_MIN_BYTES:
        remedy = "free some space, or set TRITONPLANE_STATE_DIR to a larger disk"
        return Finding("disk", False, f"{_mib(free)} are free for the state directory", remedy)
    return Finding("disk", True, f"{_mib(free)} are free for the state directory")


async def backends(config: TritonConfig) -> Finding:
    """NVIDIA's python backend, and ours that Triton runs through it."""
    try:
        installation = find_installation(config.binary)
    except DomainError as error:
        return Finding("backends", False, error.message, _remedy(error))
    found = {folder.name for folder in our_backends()}
    missing = sorted(EXPECTED_BACKENDS - found)
    if missing or not (installation.backends / "python" / "libtriton_python.so").exists():
        named = ", ".join(missing) or "python"
        return Finding(
            "backends", False, f"not installed: {named}", f"{sys.executable} -m pip install --force tritonplane"
        )
    return Finding("backends", True, f"python; ours: {', '.join(sorted(found))}")


async def paths(config: TritonConfig) -> Finding:
    """Paths go unquoted through a shell inside Triton, and through PATH."""
    try:
        check_path(config.state_dir)
    except DomainError as error:
        return Finding("paths", False, error.message, _remedy(error))
    if not is_safe_path(sys.prefix):
        return Finding(
            "paths",
            False,
            f"the environment {sys.prefix!r} has a character that Triton may trip over",
            "make the virtual environment in a folder of letters, digits, '_', '.' and '-'",
        )
    return Finding("paths", True, "state directory and environment have plain paths")


def ports(wanted: Mapping[str, int]) -> list[Finding]:
    """One finding per port that we would listen on; 0 means any free one."""
    return [_port(purpose, port) for purpose, port in wanted.items()]


async def round_trip(config: TritonConfig, clock: Clock) -> Finding:
    """Start a scratch Triton in a temporary folder, ask it the golden question and what it runs on, stop it."""
    name, elsewhere = "round trip", "see the other findings"
    with tempfile.TemporaryDirectory(prefix="tritonplane-") as scratch:
        trial = replace(config, state_dir=Path(scratch), grpc_port=0, metrics_port=0)
        async with Supervisor(trial, clock) as supervisor:
            try:
                status = await supervisor.wait_until(_is_decided, ROUND_TRIP_S)
                if status.state is not TritonState.READY:
                    return Finding(name, False, status.reason or status.state.value, elsewhere)
                seen = await stub_environment(supervisor.triton)
            except DomainError as error:
                return Finding(name, False, error.message, elsewhere)
    told = f"Python {seen['python']} of {seen['prefix']} with numpy {seen['numpy']}"
    return Finding(name, True, f"Triton {status.version} gave tensors back whole from a stub of {told}")


def _is_decided(status: TritonStatus) -> bool:
    return status.state is TritonState.READY or status.reason is not None


CHECKS: tuple[Check, ...] = (interpreter, libpython, glibc, shared_memory, disk, backends, paths)


def _port(purpose: str, port: int) -> Finding:
    name = f"port {purpose}"
    if not port:
        return Finding(name, True, "a free one is picked")
    if is_free(port):
        return Finding(name, True, f"{port} is free")
    return Finding(
        name, False, f"{port} is in use", f"ss -ltnp 'sport = :{port}' shows by whom; stop it, or set another"
    )


def _remedy(error: DomainError) -> str:
    return str(error.details.get("requires", "see the reason"))


def _mib(size_bytes: int) -> str:
    return f"{size_bytes // 2**20} MiB"
