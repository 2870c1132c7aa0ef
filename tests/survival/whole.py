"""What must be true of a state directory whatever has died: every revision whole, nothing half, nothing left over."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import psutil

from control_plane.gateways.processes.workspaces import KEPT
from control_plane.gateways.repository.inventory import find_faults, read_revision
from control_plane.gateways.repository.layout import INTERNAL_PREFIX, Layout
from control_plane.gateways.repository.manifest import BrokenManifest

DEAD_WITHIN_S = 10.0  # what is alive then is reported as never dying
DATABASES = ("state.db", "jobs.db")


def faults_on_disk(state: Path) -> list[str]:
    """In sentences; none is to be expected while no job runs."""
    layout = Layout(state)
    faults = [f"staging has {path.name}" for path in layout.staging.iterdir()]
    faults += [f"quarantine has {path.name}" for path in layout.quarantine.iterdir()]
    for folder in layout.repository.iterdir():
        if folder.name.startswith(INTERNAL_PREFIX):
            continue
        try:
            faults += [f"{folder.name}: {fault}" for fault in find_faults(folder, read_revision(folder))]
        except BrokenManifest as error:
            faults.append(f"{folder.name}: {error}")
    for workspace in (state / "jobs").glob("*"):
        left = {path.name for path in workspace.iterdir()} - KEPT
        if left:
            faults.append(f"workspace {workspace.name} still has {sorted(left)}")
    return faults + [fault for name in DATABASES for fault in _faults_in_database(state / name)]


def _faults_in_database(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        found = [row[0] for row in database.execute("PRAGMA integrity_check")]
    return [f"{path.name}: {fault}" for fault in found if fault != "ok"]


def steps_left(state: Path) -> int:
    """Workflows that the durability still knows; those of jobs that are over are forgotten soon after."""
    with closing(sqlite3.connect(f"file:{state / 'jobs.db'}?mode=ro", uri=True, timeout=10)) as database:
        (count,) = database.execute("SELECT count(*) FROM workflow_status").fetchone()
    return int(count)


def processes_at(folder: Path) -> list[psutil.Process]:
    """Living processes that work in a folder or name it in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            is_there = Path(process.cwd()).is_relative_to(folder) or any(
                str(folder) in word for word in process.cmdline()
            )
        except (psutil.Error, OSError):
            continue
        if is_there and is_alive(process):
            found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    """What nobody has reaped yet is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def dead_after_s(began: float, family: Iterable[psutil.Process], folder: Path) -> float:
    """Waits until a family and all that works in a folder is dead; seconds since `began`, a reading of monotonic."""
    waited_for = list(family)
    while living := [process for process in waited_for if is_alive(process)] or processes_at(folder):
        assert time.monotonic() - began < DEAD_WITHIN_S, f"still alive: {[one.cmdline() for one in living]}"
        time.sleep(0.01)
    return time.monotonic() - began
