"""A note on disk of the server process that runs, so that the next start can end one that was left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

GONE_WITHIN_S = 3


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """`created_at_s` tells a process from a later one with the same id. `prefix` is in the arguments of its stubs."""

    pid: int
    created_at_s: float
    executable: str
    prefix: str


def write(path: Path, pid: int, executable: Path, prefix: str) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        record = ProcessRecord(pid, psutil.Process(pid).create_time(), str(executable), prefix)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(record)))
        fresh.rename(path)


def read(path: Path) -> ProcessRecord | None:
    """None where there is no record, or none that can be read."""
    try:
        return ProcessRecord(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def reap(path: Path) -> list[int]:
    """Kill what an earlier life left, server and stubs, and wait until it is gone. Gives the ids that were killed."""
    record = read(path)
    path.unlink(missing_ok=True)
    if record is None:
        return []
    left = [*_server(record), *_stubs(record.prefix)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(left, timeout=GONE_WITHIN_S)
    return [process.pid for process in left]


def _server(record: ProcessRecord) -> list[psutil.Process]:
    try:
        process = psutil.Process(record.pid)
        same = process.create_time() == record.created_at_s and os.path.samefile(process.exe(), record.executable)
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        return []
    return [process] if same else []


def _stubs(prefix: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(argument.startswith(prefix) for argument in process.info["cmdline"] or ())
    ]
