"""A real, supervised Triton for tests: with or without company, and models that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from control_plane.domain.tensors import Inference, Parameter, pack, text_tensor
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.triton import shared_memory
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.control import Control
from control_plane.gateways.triton.stub import TritonStub
from control_plane.gateways.triton.supervisor import Supervisor

MODELS = Path(__file__).parent / "fixtures" / "triton_models"
READY_S = 30
LOAD_S = 20
LEFTOVER_LOOKS = 20


class RunningTriton(NamedTuple):
    """`repository` is the live repository: put model directories there, then `control.load` them."""

    supervisor: Supervisor
    control: Control
    stub: TritonStub
    repository: Path

    async def serve(self, model: str) -> str:
        """Load one of `MODELS`; gives its directory."""
        put_model(self.repository, model)
        await self.control.load(model, LOAD_S)
        return model


@contextlib.asynccontextmanager
async def running_triton(state_dir: Path, **settings: Any) -> AsyncIterator[RunningTriton]:
    config = TritonConfig(state_dir, **{"exit_timeout_s": 1, **settings})
    async with Supervisor(config, SystemClock()) as supervisor:
        await supervisor.wait_until(is_ready, READY_S)
        yield RunningTriton(supervisor, supervisor.control, supervisor.triton, config.repository)


def put_model(repository: Path, model: str) -> None:
    repository.mkdir(parents=True, exist_ok=True)
    shutil.copytree(MODELS / model, repository / model, dirs_exist_ok=True)


def is_ready(status: TritonStatus) -> bool:
    return status.state is TritonState.READY


def is_crashed(status: TritonStatus) -> bool:
    return status.state is TritonState.CRASHED


def leftovers(state_dir: Path) -> list[str]:
    """What a life of Triton leaves behind a moment after its end: processes that name the directory, shared memory."""
    for _ in range(LEFTOVER_LOOKS):
        left = _left(state_dir)
        if not left:
            break
        time.sleep(0.05)  # a killed process is in the kernel's list for as long as its memory is freed
    return left


def _left(state_dir: Path) -> list[str]:
    processes = [
        f"{process.pid} {process.info['cmdline'][0]}"
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and process.pid != os.getpid()
        and "triton" in " ".join((process.info["cmdline"] or [])[:1])
        and any(str(state_dir) in argument for argument in process.info["cmdline"])
    ]
    return processes + [segment.name for segment in shared_memory.segments(shared_memory.family_prefix(state_dir))]


def echo(*values: float, timeout_s: float = 10, shape: tuple[int, ...] | None = None) -> Inference:
    return Inference("echo", (pack("X", "FP32", shape or (1, len(values)), values),), timeout_s, ("Y",))


def counting(count: int, timeout_s: float = 20, **wishes: Parameter) -> Inference:
    return Inference("counter", (pack("COUNT", "INT32", [1], [count]),), timeout_s, parameters=tuple(wishes.items()))


async def until_frozen(log: Path) -> None:
    """Until a model that is to freeze does; it says so in Triton's log."""
    async with asyncio.timeout(LOAD_S):
        while "freezes" not in log.read_text():  # noqa: ASYNC110, ASYNC240 - a file tells nobody
            await asyncio.sleep(0.01)


def wishing(wish: str, *outputs: str, timeout_s: float = 10) -> Inference:
    return Inference("misbehaved", (text_tensor("WISH", wish),), timeout_s, outputs or ("ANSWER",))
