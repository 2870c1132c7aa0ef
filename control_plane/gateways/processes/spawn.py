"""Child processes that die with us: own process group, SIGKILL when the parent ends, one call to run to completion."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from control_plane.domain.errors import TimedOut, Unsupported

# Runs between our fork and the program. prctl(PR_SET_PDEATHSIG, SIGKILL) survives exec; the parent may have died
# before it was set, so it is looked at once more. Python code after a fork of a threaded process (preexec_fn) can
# deadlock; a fresh interpreter (about 20 ms) can not.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
# Before the server (0) when the kernel must choose; 1000 would be before everything else of the machine.
_OOM_SCORE = 800


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child ended. `returncode` is negative for a signal, as in subprocess."""

    returncode: int
    stdout: bytes
    stderr: bytes


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | IO[bytes] = DEVNULL,
    stdout: int | IO[bytes] = DEVNULL,
    stderr: int | IO[bytes] = DEVNULL,
) -> Process:
    """Start a program as the leader of its own session; the kernel kills it when the calling thread ends.

    Call it from the main thread's event loop: the kernel's "parent" is the thread, not the process.
    Raises: Unsupported when the program is not there.
    """
    program = shutil.which(argv[0], path=env.get("PATH"))
    if program is None:
        raise Unsupported(f"the program {Path(argv[0]).name!r} is not installed", requires=Path(argv[0]).name)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), program, *argv[1:]),
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


async def run_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: bytes = b"",
    timeout_s: float,
    cwd: Path | None = None,
) -> ChildResult:
    """Run a program to its end. Leaving early, by timeout or cancellation, kills its whole process group.

    The end is the end of its output: a grandchild that keeps stdout open counts as still running.
    Raises: TimedOut, Unsupported when the program is not there.
    """
    # No pipe without input: a child may end before it is fed, and uvloop raises RuntimeError for a write into a pipe
    # that has closed meanwhile.
    process = await spawn(argv, env=env, cwd=cwd, stdin=PIPE if stdin else DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await process.communicate(stdin or None)
    except TimeoutError as error:
        raise TimedOut(f"{Path(argv[0]).name} did not finish within {timeout_s:g} s", timeout_s=timeout_s) from error
    finally:
        kill_group(process.pid)
        await asyncio.shield(process.wait())
    assert process.returncode is not None
    return ChildResult(process.returncode, stdout, stderr)


async def guard_group(leader: int) -> Process:
    """Start a watchman who kills the whole group of `leader` when we end; kill the watchman to call him off.

    The kernel ends our child with us, but not its children. He waits for a pipe that only our end closes.
    """
    return await asyncio.create_subprocess_exec(
        *("sh", "-c", f"read _; kill -9 -{leader}"), stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
    )


def let_die_first(leader: int) -> None:
    """And all that it starts from now on: when memory ends, the kernel chooses it before what serves."""
    with contextlib.suppress(OSError):  # it may have ended already
        Path(f"/proc/{leader}/oom_score_adj").write_text(str(_OOM_SCORE))


def kill_group(leader: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal every process of a session started by `spawn`; none left is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)
