"""Filling a folder with a virtual environment of pinned packages: venv, pip, and an import of what was installed."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.gateways.processes.packages import imported_versions, our_python, unmade
from control_plane.gateways.processes.pip import PipOutput, install_command, is_about_full_disk, pip_environment
from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.gateways.processes.stream import run_streamed
from control_plane.ports import Progress, Report

# How far making it is when pip begins, when pip is done; importing torch is the rest.
_PIP_BEGINS, _PIP_ENDS = 0.03, 0.95
_COUNT_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Installation:
    """What goes into an environment, and who hears of it: `on_output` gets each line that the tools write."""

    requirements: Sequence[Path]
    extra_index_urls: Sequence[str]
    report: Report
    on_output: Callable[[str], None]


async def fill(folder: Path, wanted: Installation) -> dict[str, str]:
    """Make a virtual environment in an empty folder; the versions of what every conversion needs.

    Raises: Unsupported saying why it cannot be made.
    """
    scratch = folder / "tmp"
    with told_when_disk_fails():
        scratch.mkdir()
        wanted.report(Progress(0.0, "making a virtual environment"))
        await _make_venv(folder, scratch, wanted.on_output)
        python = str(folder / "bin" / "python")
        await _install(python, folder, scratch, wanted)
        wanted.report(Progress(_PIP_ENDS, "importing what was installed"))
        versions = await imported_versions(python)
        await asyncio.to_thread(shutil.rmtree, scratch)
    return versions


@contextmanager
def told_when_disk_fails() -> Iterator[None]:
    """Raises Unsupported in place of OSError."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise unmade("the disk is full" if is_full else scrubbed(error.strerror or str(error))) from error


async def _make_venv(folder: Path, scratch: Path, on_output: Callable[[str], None]) -> None:
    said: list[str] = []
    venv = [sys.executable, "-P", "-m", "venv", "--without-pip", str(folder)]
    # Apart from venv, which keeps to itself what ensurepip says.
    ensurepip = [str(folder / "bin" / "python"), "-P", "-m", "ensurepip", "--upgrade", "--default-pip"]
    for command in (venv, ensurepip):
        returncode = await _run(command, scratch, on_output, said.append)
        if returncode != 0:
            raise unmade(_venv_failure("\n".join(said)) or f"python -m {command[3]} failed with code {returncode}")


def _venv_failure(text: str) -> str:
    if is_about_full_disk(text):
        return "the disk is full"
    if "No module named" in text:
        return f"Python's module venv is not complete here; on Debian and Ubuntu: python{our_python()}-venv"
    return scrubbed(text.rpartition("\n")[2])


async def _install(python: str, folder: Path, scratch: Path, wanted: Installation) -> None:
    expected = sum(file.read_text("utf-8").count("==") for file in wanted.requirements)
    output = PipOutput(expected, lambda now: wanted.report(_part(now)))
    counting = asyncio.create_task(_count(folder, output))
    try:
        command = install_command(python, wanted.requirements, wanted.extra_index_urls)
        returncode = await _run(command, scratch, wanted.on_output, output.read)
    finally:
        counting.cancel()
    if returncode != 0:
        raise unmade(output.failure(returncode))


def _part(now: Progress) -> Progress:
    return Progress(_PIP_BEGINS + (_PIP_ENDS - _PIP_BEGINS) * now.fraction, now.message)


async def _count(folder: Path, output: PipOutput) -> None:
    """pip does not say how many packages it has installed, so they are counted; there is nothing to wait on."""
    before = _installed(folder)
    while True:
        await asyncio.sleep(_COUNT_INTERVAL_S)
        if output.to_install:
            output.installed(_installed(folder) - before)


def _installed(folder: Path) -> int:
    return sum(1 for _ in folder.glob("lib/python*/site-packages/*.dist-info"))


async def _run(command: Sequence[str], scratch: Path, *readers: Callable[[str], None]) -> int:
    def on_line(line: bytes) -> None:
        for read in readers:
            read(line.decode(errors="replace").rstrip())

    return await run_streamed(command, env=pip_environment(os.environ, scratch), on_line=on_line)
