"""A supervised Triton comes back from every kind of death with its models, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from control_plane.domain.errors import EngineFailed, TimedOut, Unavailable
from control_plane.domain.tensors import unpack
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.triton import shared_memory
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.executors import executors
from control_plane.gateways.triton.selftest import probe_folder
from control_plane.gateways.triton.supervisor import Supervisor
from tests.triton import (
    LOAD_S,
    MODELS,
    READY_S,
    RunningTriton,
    counting,
    echo,
    is_crashed,
    is_ready,
    leftovers,
    put_model,
    running_triton,
    wishing,
)

BACK_WITHIN_S = 10
ORPHANS_WITHIN_S = 3
PARENT = """
import asyncio, sys
from pathlib import Path
from tests.triton import running_triton, wishing

async def main():
    async with running_triton(Path(sys.argv[1])) as running:
        await running.serve("echo")
        await running.serve("misbehaved")
        print(running.supervisor.pid, flush=True)
        await running.stub.infer(wishing("freeze", timeout_s=60))

asyncio.run(main())
"""


def _restarted(status: TritonStatus) -> bool:
    return is_ready(status) and status.restarts > 0


async def test_a_killed_server_is_back_with_its_models_and_the_same_channel(tmp_path: Path) -> None:
    put_model(tmp_path / "repository", "echo")
    supervisor = Supervisor(TritonConfig(tmp_path), SystemClock())
    seen: list[TritonState] = []

    async def load_desired(quarantined: frozenset[str]) -> None:
        seen.append(supervisor.status().state)
        await supervisor.control.load("echo", LOAD_S)

    supervisor.on_started = load_desired
    async with supervisor:
        await supervisor.wait_until(is_ready, READY_S)
        assert supervisor.pid is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        crashed = await supervisor.wait_until(is_crashed, READY_S)
        assert crashed.reason == "Triton was ended by signal 9"
        with pytest.raises(Unavailable) as caught:
            await supervisor.triton.infer(echo(1))
        assert caught.value.details["retry_after_seconds"] == 1
        status = await supervisor.wait_until(_restarted, BACK_WITHIN_S)
        assert (status.restarts, status.version) == (1, "2.51.0")
        assert unpack((await supervisor.triton.infer(echo(1))).outputs[0]) == [1]
    assert seen == [TritonState.LOADING, TritonState.LOADING]
    assert supervisor.status().state is TritonState.STOPPED
    assert leftovers(tmp_path) == []


async def test_the_folders_of_its_python_backend_go_with_a_killed_server(tmp_path: Path) -> None:
    async with running_triton(tmp_path) as running:
        await running.serve("echo")
        made = set((tmp_path / "python_env").iterdir())
        assert len(made) == 2  # one for each backend: the self-test's and that of echo; Triton would have them in /tmp
        assert running.supervisor.pid is not None
        os.kill(running.supervisor.pid, signal.SIGKILL)
        await running.supervisor.wait_until(_restarted, BACK_WITHIN_S)
        assert not made & set((tmp_path / "python_env").iterdir())
    assert not (tmp_path / "python_env").exists()


async def test_requests_in_flight_when_the_server_dies_fail_at_once(tmp_path: Path) -> None:
    async with running_triton(tmp_path) as running:
        await running.serve("misbehaved")
        request = asyncio.create_task(running.stub.infer(wishing("sleep")))
        await asyncio.sleep(0.3)
        await running.supervisor.replace("a test")
        with pytest.raises(Unavailable):
            await request
        assert running.stub.in_flight == 0


async def test_a_load_that_hangs_times_out_and_replacing_the_server_cures_it(tmp_path: Path) -> None:
    async with running_triton(tmp_path) as running:
        put_model(running.repository, "never_loads")
        with pytest.raises(TimedOut, match="never_loads"):
            await running.control.load("never_loads", 1)
        first = running.supervisor.pid
        await running.supervisor.replace("never_loads hangs")
        status = await running.supervisor.wait_until(is_crashed, READY_S)
        assert status.reason == "never_loads hangs"
        await running.supervisor.wait_until(_restarted, BACK_WITHIN_S)
        assert running.supervisor.pid != first
        assert await running.serve("echo")
    assert leftovers(tmp_path) == []


async def test_a_load_whose_process_is_killed_fails_and_does_not_keep_the_server(tmp_path: Path) -> None:
    async with running_triton(tmp_path, liveness_interval_s=0.2) as running:
        put_model(running.repository, "never_loads")
        loading = asyncio.create_task(running.control.load("never_loads", 60))
        await _kill_what_begins(running, "never_loads")
        with pytest.raises(EngineFailed, match="died while it was loaded"):
            async with asyncio.timeout(10):
                await loading
        status = await running.supervisor.wait_until(_restarted, BACK_WITHIN_S)
        assert running.supervisor.quarantined == {"never_loads"}
        assert status.restarts == 1


async def test_the_process_before_it_hides_no_death_of_one_that_begins(tmp_path: Path) -> None:
    async with running_triton(tmp_path) as running:
        await running.serve("counter")
        last = running.stub.stream(counting(1000, pause_s="0.02"))
        await anext(last)
        with pytest.raises(TimedOut):
            await running.control.unload("counter", 0.1)
        shutil.copytree(MODELS / "never_loads", running.repository / "counter", dirs_exist_ok=True)
        loading = asyncio.create_task(running.control.load("counter", 60))
        await _kill_what_begins(running, "counter")
        with pytest.raises(EngineFailed, match="died while it was loaded"):
            async with asyncio.timeout(10):
                await loading
        assert unpack((await anext(last)).outputs[0])


async def _kill_what_begins(running: RunningTriton, directory: str) -> None:
    assert running.supervisor.pid is not None
    before = executors(running.supervisor.pid, directory)
    begun: set[psutil.Process] = set()
    while not begun:
        begun = set(executors(running.supervisor.pid, directory)).difference(before)
        await asyncio.sleep(0.005)
    for process in begun:
        process.suspend()  # a little later Triton itself would notice its end
    await asyncio.sleep(0.2)
    for process in begun:
        process.kill()


async def test_a_model_that_kills_the_server_again_and_again_is_quarantined(tmp_path: Path) -> None:
    put_model(tmp_path / "repository", "server_killer")
    supervisor = Supervisor(TritonConfig(tmp_path), SystemClock())

    async def load_desired(quarantined: frozenset[str]) -> None:
        if "server_killer" not in quarantined:
            await supervisor.control.load("server_killer", LOAD_S)

    supervisor.on_started = load_desired
    async with supervisor:
        status = await supervisor.wait_until(_restarted, READY_S)
    assert status.restarts == 3
    assert supervisor.quarantined == {"server_killer"}


async def test_a_frozen_server_is_replaced(tmp_path: Path) -> None:
    settings = {"liveness_interval_s": 0.2, "liveness_timeout_s": 0.5, "liveness_misses": 2}
    async with running_triton(tmp_path, **settings) as running:
        assert running.supervisor.pid is not None
        os.kill(running.supervisor.pid, signal.SIGSTOP)
        status = await running.supervisor.wait_until(is_crashed, READY_S)
        assert status.reason == "Triton did not answer 2 questions in a row"
        await running.supervisor.wait_until(_restarted, BACK_WITHIN_S)


async def test_a_dead_model_degrades_the_server_until_it_is_healed(tmp_path: Path) -> None:
    async with running_triton(tmp_path) as running:
        running.supervisor.degrade("m--r1 is dead")
        assert (running.supervisor.status().state, running.supervisor.status().reason) == (
            TritonState.DEGRADED,
            "m--r1 is dead",
        )
        running.supervisor.degrade(None)
        assert running.supervisor.status().state is TritonState.READY


async def test_closing_lets_requests_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    async with running_triton(tmp_path) as running:
        await running.serve("misbehaved")
        request = asyncio.create_task(running.stub.infer(wishing("sleep")))
        await asyncio.sleep(0.3)
        closing = asyncio.create_task(running.supervisor.close())
        await running.supervisor.wait_until(lambda status: status.state is TritonState.DRAINING, 5)
        with pytest.raises(Unavailable, match="draining"):
            await running.stub.infer(wishing("hello"))
        assert unpack((await request).outputs[0]) == ["sleep"]
        await closing
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "triton.pid").exists()


async def test_closing_ends_requests_that_outlive_the_drain(tmp_path: Path) -> None:
    async with running_triton(tmp_path, drain_timeout_s=0.2, exit_timeout_s=1) as running:
        await running.serve("misbehaved")
        request = asyncio.create_task(running.stub.infer(wishing("sleep")))
        await asyncio.sleep(0.3)
        await running.supervisor.close()
        await asyncio.wait([request], timeout=1)
        assert request.done()
        request.exception()
    assert leftovers(tmp_path) == []


async def test_a_port_that_another_program_holds_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with Supervisor(TritonConfig(tmp_path, grpc_port=port), SystemClock()) as supervisor:
            status = await supervisor.wait_until(is_crashed, READY_S)
            assert status.reason == f"port {port}, for Triton's gRPC, is in use by another program"
            with pytest.raises(TimedOut, match="in use by another program"):
                await supervisor.wait_until(is_ready, 0.1)
            taken.close()
            await supervisor.wait_until(is_ready, READY_S)


async def test_tensors_that_do_not_survive_keep_the_server_out_of_rotation(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    shutil.copytree(probe_folder(TritonConfig(tmp_path)), probe)
    golden = json.loads((probe / "1" / "golden.json").read_text())
    golden["outputs"]["Y"][0] += 1
    (probe / "1" / "golden.json").write_text(json.dumps(golden))
    async with Supervisor(TritonConfig(tmp_path / "state", probe=probe), SystemClock()) as supervisor:
        status = await supervisor.wait_until(is_crashed, READY_S)
    assert status.reason is not None
    assert "the self-test's output 'Y' is wrong" in status.reason
    assert "numpy" in status.reason


def test_nothing_outlives_a_killed_parent_and_the_next_start_is_clean(tmp_path: Path) -> None:
    state = tmp_path / "state"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(state)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    assert len(psutil.Process(server).children()) == 3  # the stubs of the probe, of echo, and of a model that is stuck
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    prefix, until_s = shared_memory.family_prefix(state), time.monotonic() + ORPHANS_WITHIN_S
    while orphans := [line for line in leftovers(state) if not line.startswith(prefix)]:
        assert time.monotonic() < until_s, orphans
    assert (state / "triton.pid").exists()
    old = set(shared_memory.segments(prefix))
    now = asyncio.run(_segments_of_a_new_life(state))
    assert now
    assert not now & old
    assert leftovers(state) == []


async def _segments_of_a_new_life(state: Path) -> set[Path]:
    async with running_triton(state) as running:
        assert running.supervisor.status().restarts == 0
        return set(shared_memory.segments(shared_memory.family_prefix(state)))
