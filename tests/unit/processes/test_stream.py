"""A child is heard while it runs, and is gone with all its family when nobody listens any more."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import uvloop

from control_plane.domain.errors import Unsupported
from control_plane.gateways.processes.stream import run_streamed

ENV = {"PATH": os.environ["PATH"]}
LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)


def heard(script: str, *, apart: bool = True) -> tuple[int, list[bytes], bytes]:
    """The code, the lines and the errors of a Python script, under the server's own event loop."""
    lines: list[bytes] = []
    errors: list[bytes] = []
    command = [sys.executable, "-c", script]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(
            run_streamed(command, env=ENV, on_line=lines.append, on_errors=errors.append if apart else None)
        )
    return code, lines, b"".join(errors)


def test_both_streams_are_heard_and_the_code_is_told() -> None:
    script = "import sys; print('one'); print('two', end=''); print('odd', file=sys.stderr); sys.exit(3)"
    assert heard(script) == (3, [b"one\n", b"two"], b"odd\n")


def test_both_streams_can_be_one() -> None:
    script = "import os; os.write(1, b'one\\n'); os.write(2, b'two\\n')"
    assert heard(script, apart=False) == (0, [b"one\n", b"two\n"], b"")


def test_a_long_line_comes_whole() -> None:
    code, lines, _ = heard("print('x' * 3_000_000)")
    assert (code, [len(line) for line in lines]) == (0, [3_000_001])


def test_a_signal_is_told_as_its_negative_number() -> None:
    assert heard("import os; os.kill(os.getpid(), 9)")[0] == -9


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_a_grandchild_that_keeps_the_pipes_open_ends_with_its_parent(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    lines: list[bytes] = []
    script = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"

    async def run() -> int:
        async with asyncio.timeout(20):
            return await run_streamed(
                [sys.executable, "-c", script], env=ENV, on_line=lines.append, on_errors=lambda _: None
            )

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(run()) == 0
    until = time.monotonic() + 10
    while _lives(int(lines[0])):  # killed, but the kernel has yet to end it
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_listener_that_fails_ends_the_child_and_is_heard_of() -> None:
    def refuse(line: bytes) -> None:
        raise ValueError(line.decode())

    script = "import time; print('nonsense', flush=True); time.sleep(60)"
    with pytest.raises(ValueError, match="nonsense"), asyncio.Runner() as runner:
        runner.run(run_streamed([sys.executable, "-c", script], env=ENV, on_line=refuse))


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Unsupported, match="no-such-program"):
        await run_streamed(["no-such-program"], env=ENV, on_line=lambda _: None)


async def test_nothing_stays_open(tmp_path: object) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await run_streamed(["true"], env=ENV, on_line=lambda _: None, on_errors=lambda _: None)
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # a child watcher may come to stay


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] != "Z"
    except OSError:
        return False


def test_no_descriptor_is_closed_twice_since_it_may_be_another_thread_s_file_by_then() -> None:
    """Under uvloop a pipe's is: threads that opened files lost them, and libuv aborted the process."""
    outcome = subprocess.run([sys.executable, "-c", _CLOSING], capture_output=True, text=True, timeout=60, check=False)
    assert (outcome.returncode, outcome.stdout, outcome.stderr[-300:]) == (0, "0 lost\n", "")


_CLOSING = """
import asyncio, os, threading, uvloop
from control_plane.gateways.processes.stream import _pipe

lost, enough = [], threading.Event()

def open_files():
    while not enough.is_set():
        handle = os.open(os.devnull, os.O_RDONLY)
        try:
            os.close(handle)
        except OSError:
            lost.append(handle)

async def open_pipes():
    for _ in range(3000):
        async with _pipe():
            pass
        await asyncio.sleep(0)

threads = [threading.Thread(target=open_files) for _ in range(4)]
for thread in threads:
    thread.start()
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(open_pipes())
enough.set()
for thread in threads:
    thread.join()
print(len(lost), "lost")
"""
