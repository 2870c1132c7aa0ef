"""Children end when we say so, and when we end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import uvloop

from control_plane.domain.errors import TimedOut, Unsupported
from control_plane.gateways.processes.spawn import guard_group, kill_group, run_child, spawn
from tests.doubles.virtual_time import in_virtual_time

ENV = {"PATH": os.environ["PATH"]}
# A child with a grandchild; both pids go to the file named by its argument.
FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen(["sleep", "60"])
open(sys.argv[1] + ".part", "w").write(f"{os.getpid()} {grandchild.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(60)
"""


async def test_a_child_gets_its_input_and_gives_both_outputs_and_its_code() -> None:
    script = "import sys; print(sys.stdin.read()[::-1], end=''); print('odd', end='', file=sys.stderr); sys.exit(3)"
    result = await run_child([sys.executable, "-c", script], env=ENV, stdin=b"abc", timeout_s=20)
    assert (result.returncode, result.stdout, result.stderr) == (3, b"cba", b"odd")


def test_a_child_may_end_before_a_busy_server_gets_round_to_it() -> None:
    async def busy() -> None:
        while True:
            time.sleep(0.05)  # noqa: ASYNC251 - what an overloaded machine does to the event loop
            await asyncio.sleep(0)

    async def run() -> int:
        business = asyncio.create_task(busy())
        result = await run_child(["true"], env=ENV, timeout_s=20)
        business.cancel()
        return result.returncode

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [runner.run(run()) for _ in range(3)] == [0, 0, 0]


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Unsupported, match="no-such-program"):
        await run_child(["no-such-program"], env=ENV, timeout_s=1)


@in_virtual_time
async def test_a_timeout_kills_the_child_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    family = asyncio.create_task(run_child([sys.executable, "-c", FAMILY, str(pids)], env=ENV, timeout_s=2))
    await asyncio.to_thread(_wait_for, pids.exists)  # no time passes before they are there
    with pytest.raises(TimedOut):
        await family
    _assert_gone(pids)


async def test_cancelling_kills_the_child_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.create_task(run_child([sys.executable, "-c", FAMILY, str(pids)], env=ENV, timeout_s=60))
    await asyncio.to_thread(_wait_for, pids.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _assert_gone(pids)


def test_a_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = (
        "import asyncio, os, sys; from control_plane.gateways.processes.spawn import run_child;"
        f"asyncio.run(run_child([sys.executable, '-c', 'import os, sys, time; "
        f'open(sys.argv[1], "w").write(str(os.getpid())); time.sleep(60)\', {str(pids)!r}],'
        " env=dict(os.environ), timeout_s=60))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    _wait_for(lambda: pids.exists() and bool(pids.read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _assert_gone(pids)


def _assert_gone(pids: Path) -> None:
    for pid in map(int, pids.read_text().split()):
        _wait_for(lambda pid=pid: _is_gone(pid))


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_for(condition, within_s: float = 10) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


async def test_a_watchman_ends_a_whole_group_when_his_pipe_closes_and_nobody_when_he_is_called_off() -> None:
    for is_called_off in (True, False):
        child = await spawn(["sleep", "60"], env=ENV)
        guard = await guard_group(child.pid)
        assert guard.stdin is not None
        if is_called_off:
            guard.kill()
            await guard.wait()
            assert psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE
            kill_group(child.pid)
        else:
            guard.stdin.close()
        assert await asyncio.wait_for(child.wait(), 5) == -signal.SIGKILL
        await guard.wait()
