"""Children of the converter environment: they see nothing of ours and leave nothing outside their workspace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import EngineFailed, Unavailable
from control_plane.domain.jobs import JsonObject
from control_plane.gateways.processes.bounded_log import BoundedLog
from control_plane.gateways.processes.spawn import let_die_first, run_child
from control_plane.gateways.processes.stream import run_streamed
from control_plane.ports import Progress, Report
from converters.contract import BrokenStream, Event, Progressed, from_line

JOB_FILE, LOG_FILE, SCRATCH = "job.json", "log.txt", "tmp"
# Below whatever serves; by the kernel's scale a tenth of the time where both want a core.
_NICENESS = 10
# Where libraries and devices are; all else of our environment stays here, keys and proxies first of all.
_PASSED = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its last event, if it said any, and its code, negative for a signal."""

    last: Event | None
    returncode: int


@dataclass(frozen=True, slots=True)
class Task:
    """What a child is asked to do in its workspace. `command`: of a Python and a JOB.json; `name` is for messages."""

    name: str
    command: Callable[[str, Path], list[str]]
    workspace: Path
    request: JsonObject


class ConverterChildren:
    """Runs `python -m converters`. `code` is the folder of the package `converters`; `way_to_it` a folder of ours."""

    def __init__(self, way_to_it: Path, code: Path) -> None:
        self._way_to_it, self._code = way_to_it, code

    async def run(self, python: str, task: Task, report: Report) -> Ended:
        """Raises: Unavailable when the workspace cannot be written; EngineFailed when it is not understood."""
        try:
            await asyncio.to_thread(_fill, task.workspace, task.request)
            return await self._run(python, task, report)
        except OSError as error:
            raise Unavailable(f"the {task.name}'s folder cannot be written: {error.strerror}") from error
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, task.workspace / SCRATCH, ignore_errors=True))

    async def _run(self, python: str, task: Task, report: Report) -> Ended:
        last: Event | None = None

        def on_line(line: bytes) -> None:
            nonlocal last
            last = from_line(line.decode(errors="replace"))
            if isinstance(last, Progressed):
                report(Progress(last.fraction, last.message))

        log = BoundedLog(task.workspace / LOG_FILE)
        try:
            returncode = await run_streamed(
                task.command(python, task.workspace / JOB_FILE),
                env=self._variables(python, task.workspace / SCRATCH),
                cwd=task.workspace,
                on_line=on_line,
                on_errors=log.write,
                on_start=_restrain,
            )
        except BrokenStream as error:
            raise EngineFailed(f"the {task.name} said something that is no event; its log says more") from error
        finally:
            log.close()
        return Ended(last, returncode)

    async def ask(self, python: str, command: list[str], timeout_s: float) -> Event:
        """The one event that a command answers with, which needs no workspace. Raises BrokenStream."""
        result = await run_child(command, env=self._variables(python, Path(os.devnull)), timeout_s=timeout_s)
        return from_line(result.stdout.decode(errors="replace"))

    def _variables(self, python: str, scratch: Path) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in _PASSED if name in os.environ},
            "PATH": f"{Path(python).parent}:{os.defpath}",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self._make_way()),
            "PYTHONNOUSERSITE": "1",
            "PYTHONUNBUFFERED": "1",
            "OMP_WAIT_POLICY": "PASSIVE",  # threads of torch that wait let others have the core
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def _make_way(self) -> Path:
        """A folder with nothing but a link to the package: what lies beside it, our own packages, stays unseen."""
        link = self._way_to_it / self._code.name
        if not link.is_symlink() or link.readlink() != self._code:
            self._way_to_it.mkdir(parents=True, exist_ok=True)
            draft = link.with_name(f"{link.name}.{os.getpid()}")
            draft.unlink(missing_ok=True)
            draft.symlink_to(self._code)
            draft.replace(link)
        return self._way_to_it


def _fill(workspace: Path, request: JsonObject) -> None:
    shutil.rmtree(workspace / SCRATCH, ignore_errors=True)
    (workspace / SCRATCH).mkdir(parents=True)
    draft = workspace / f"{JOB_FILE}.draft"
    draft.write_text(json.dumps(request, indent=1))
    draft.replace(workspace / JOB_FILE)


def _restrain(leader: int) -> None:
    """It and all that it starts: waits for who serves, dies before the server when memory ends, dumps no core."""
    with contextlib.suppress(OSError):  # it may have ended already
        os.setpriority(os.PRIO_PGRP, leader, _NICENESS)
        resource.prlimit(leader, resource.RLIMIT_CORE, (0, 0))
    let_die_first(leader)
