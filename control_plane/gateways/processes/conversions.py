"""Conversions, each in a child process of the converter environment that leaves nothing outside its workspace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import converters
from control_plane.domain.errors import EngineFailed, Unavailable
from control_plane.domain.jobs import JsonObject
from control_plane.gateways.processes.bounded_log import BoundedLog
from control_plane.gateways.processes.environment import Environment, Interpreter
from control_plane.gateways.processes.outcomes import conversion_of
from control_plane.gateways.processes.spawn import run_child
from control_plane.gateways.processes.stream import run_streamed
from control_plane.ports import Conversion, Progress, RecipeStatus, Report
from converters.contract import (
    BrokenStream,
    Cataloged,
    Event,
    Progressed,
    catalog_command,
    from_line,
    run_command,
)

JOB_FILE, LOG_FILE, SCRATCH = "job.json", "log.txt", "tmp"
_CODE = Path(converters.__file__).parent
_CATALOG_TIMEOUT_S = 60.0
# Before the server (0) when the kernel must choose; 1000 would be before everything else of the machine.
_OOM_SCORE = 800
# Below whatever serves; by the kernel's scale a tenth of the time where both want a core.
_NICENESS = 10
# Where libraries and devices are; all else of our environment stays here, keys and proxies first of all.
_PASSED = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


class ConverterRunner:
    """Runs `python -m converters`. `code` is the folder of the package `converters`; `way_to_it` a folder of ours."""

    def __init__(
        self, environment: Environment, way_to_it: Path, code: Path = Path(converters.__file__).parent
    ) -> None:
        self._environment, self._code, self._way_to_it = environment, code, way_to_it
        self._catalog: tuple[Interpreter | None, tuple[RecipeStatus, ...]] | None = None

    async def prepare(self, report: Report) -> None:
        await self._environment.prepare(report)

    async def convert(self, workspace: Path, request: JsonObject, report: Report) -> Conversion:
        await self.prepare(report)
        with self._environment.in_use() as interpreter:
            try:
                await asyncio.to_thread(_fill, workspace, request)
                return await self._run(interpreter, workspace, report)
            except OSError as error:
                raise Unavailable(f"the conversion's folder cannot be written: {error.strerror}") from error
            finally:
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, workspace / SCRATCH, ignore_errors=True))

    async def _run(self, interpreter: Interpreter, workspace: Path, report: Report) -> Conversion:
        last: Event | None = None

        def on_line(line: bytes) -> None:
            nonlocal last
            last = from_line(line.decode(errors="replace"))
            if isinstance(last, Progressed):
                report(Progress(last.fraction, last.message))

        log = BoundedLog(workspace / LOG_FILE)
        try:
            returncode = await run_streamed(
                run_command(interpreter.python, workspace / JOB_FILE),
                env=self._variables(interpreter.python, workspace / SCRATCH),
                cwd=workspace,
                on_line=on_line,
                on_errors=log.write,
                on_start=_restrain,
            )
        except BrokenStream as error:
            raise EngineFailed("the conversion said something that is no event; its log says more") from error
        finally:
            log.close()
        return conversion_of(last, returncode, workspace)

    async def catalog(self) -> Sequence[RecipeStatus]:
        """Without an environment our own Python is asked: it lacks much, and says so of each recipe."""
        interpreter = self._environment.current()
        if self._catalog is None or self._catalog[0] != interpreter:
            self._catalog = (
                interpreter,
                await self._ask_catalog(interpreter.python if interpreter else sys.executable),
            )
        return self._catalog[1]

    async def _ask_catalog(self, python: str) -> tuple[RecipeStatus, ...]:
        env = self._variables(python, Path(os.devnull))
        result = await run_child(catalog_command(python), env=env, timeout_s=_CATALOG_TIMEOUT_S)
        try:
            found = from_line(result.stdout.decode(errors="replace"))
        except BrokenStream as error:
            raise EngineFailed("the catalog of conversions cannot be read") from error
        if not isinstance(found, Cataloged):
            raise EngineFailed("the catalog of conversions cannot be read")
        return tuple(RecipeStatus(fact.name, fact.summary, fact.available, fact.reason) for fact in found.recipes)

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
        Path(f"/proc/{leader}/oom_score_adj").write_text(str(_OOM_SCORE))
