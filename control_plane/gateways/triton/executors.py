"""The stub processes of a Triton server: which model each executes, and what memory it holds."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import psutil

from control_plane.gateways.triton.installation import STUB


def lives(process: psutil.Process) -> bool:
    """A killed stub stays a zombie of its server."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_alive(pid: int) -> bool:
    try:
        return lives(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def resident_bytes(server_pid: int, directory: str) -> int | None:
    """Summed over a model's instances; None when no process of its own executes it."""
    sizes = [size for process in executors(server_pid, directory) if (size := _resident(process)) is not None]
    return sum(sizes) if sizes else None


def pss_bytes(server_pid: int, directory: str) -> int | None:
    """Summed over a model's instances, a page that several processes share by its share; None where it is not told."""
    sizes = [_proportional(process) for process in executors(server_pid, directory)]
    return sum(sizes) if sizes and all(sizes) else None


def executors(server_pid: int, directory: str) -> list[psutil.Process]:
    """The stubs that run a model directory.

    Source: python_backend, stub_launcher.cc: the arguments end with the instance name, `<directory>_<group>` or
    `<directory>_<group>_<number>`, and the runtime's directory.
    """
    instance = re.compile(re.escape(directory) + r"_\d+(_\d+)?")
    return [process for process in _children(server_pid) if _runs(process, instance)]


def _children(server_pid: int) -> list[psutil.Process]:
    """From the kernel's list for each thread where it keeps one: psutil reads all processes of the machine instead."""
    lists = list(Path(f"/proc/{server_pid}/task").glob("*/children"))
    if not lists:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(server_pid).children()
    found = []
    for listed in lists:
        with contextlib.suppress(OSError, psutil.NoSuchProcess):  # a thread or a child that has ended meanwhile
            found += [psutil.Process(int(pid)) for pid in listed.read_text().split()]
    return found


def _runs(process: psutil.Process, instance: re.Pattern[str]) -> bool:
    try:
        arguments = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return len(arguments) > 2 and arguments[0].endswith(STUB) and any(map(instance.fullmatch, arguments[2:]))


def _proportional(process: psutil.Process) -> int:
    """0 where the kernel does not tell, or not us. Source: proc(5), smaps_rollup."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _resident(process: psutil.Process) -> int | None:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return None
