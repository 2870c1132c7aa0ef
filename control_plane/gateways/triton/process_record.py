"""A note on disk of the server process that runs, so that the next start can end one that was left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

GONE_WITHIN_S = 3


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """`started` tells a process from a later one with the same id. `prefix` begins an argument of each of its stubs.

    Units: `started` is in clock ticks since boot; an epoch time would move with every correction of the clock.
    """

    pid: int
    started: int
    executable: str
    prefix: str


def write(path: Path, pid: int, executable: Path, prefix: str) -> None:
    started = _started(pid)
    if started is not None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(ProcessRecord(pid, started, str(executable), prefix))))
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
    return kill_all({*_server(record), *users(record.prefix)})


def kill_all(left: Collection[psutil.Process]) -> list[int]:
    """Returns when they are gone; gives their ids."""
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(left, timeout=GONE_WITHIN_S)
    return [process.pid for process in left]


def _server(record: ProcessRecord) -> list[psutil.Process]:
    try:
        same = os.path.samefile(f"/proc/{record.pid}/exe", record.executable)
        return [psutil.Process(record.pid)] if same and _started(record.pid) == record.started else []
    except (OSError, psutil.NoSuchProcess):
        return []


def _started(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, counted after the name, which may hold anything."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def users(prefix: str) -> list[psutil.Process]:
    """Servers and stubs whose shared memory has names that begin so: an argument says it, or ends with `=` and it."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(argument.rpartition("=")[2].startswith(prefix) for argument in process.info["cmdline"] or ())
    ]
