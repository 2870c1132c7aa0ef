"""A scratch Triton serves one job, outlives its models, and leaves nothing, however it ends."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from control_plane.domain.errors import DomainError, Unavailable, Unsupported
from control_plane.domain.models import Description, LoadOptions
from control_plane.domain.tensors import Inference, pack, unpack
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.processes.converter import ConverterInspector
from control_plane.gateways.repository.configuration import Abilities
from control_plane.gateways.repository.repository import LocalRepository
from control_plane.gateways.triton import shared_memory
from control_plane.gateways.triton.backend_directory import our_backends
from control_plane.gateways.triton.executors import executors
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.ports import ScratchTriton
from tests.triton import LOAD_S, echo, put_model, until_frozen, wishing

MLP = Path(__file__).parents[2] / "fixtures" / "mlp" / "model.onnx"
GONE_WITHIN_S = 3
OWNER = """
import asyncio, sys
from pathlib import Path
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.triton.scratch import LocalScratchTritons
from tests.triton import put_model, until_frozen, wishing

async def main(state):
    folder = state / "jobs" / "scratch"
    async with LocalScratchTritons(state, None, SystemClock()).open(folder) as scratch:
        put_model(scratch.repository, "misbehaved")
        await scratch.control.load("misbehaved", 20)
        asking = asyncio.create_task(scratch.triton.infer(wishing("freeze", timeout_s=60)))
        await until_frozen(folder / "logs" / "triton.log")
        print("is stuck", flush=True)
        await asking

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def scratch_tritons(state: Path, binary: Path | None = None) -> LocalScratchTritons:
    return LocalScratchTritons(state, binary, SystemClock())


@pytest_asyncio.fixture
async def scratch(state: Path) -> AsyncIterator[ScratchTriton]:
    async with scratch_tritons(state).open(state / "scratch") as opened:
        yield opened
    assert left(state) == []


def left(state: Path) -> list[str]:
    """Processes and shared memory that are still there after a moment."""
    return living(state) + segments(state)


def living(state: Path) -> list[str]:
    """What was killed is in the kernel's list for as long as its memory is freed."""
    psutil.wait_procs(processes(state), timeout=GONE_WITHIN_S)
    return [" ".join(process.info["cmdline"]) for process in processes(state)]


def processes(state: Path) -> list[psutil.Process]:
    """Those of a scratch Triton; what a test itself has begun names the directory too."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and "triton" in "".join((process.info["cmdline"] or [])[:1])
        and any(str(state) in argument for argument in process.info["cmdline"])
    ]


def segments(state: Path) -> list[str]:
    return [segment.name for segment in shared_memory.segments(shared_memory.scratch_prefix(state))]


async def test_it_serves_a_model_and_tells_its_memory_and_leaves_only_its_log(state: Path) -> None:
    folder = state / "scratch"
    async with scratch_tritons(state).open(folder) as scratch:
        put_model(scratch.repository, "echo")
        await scratch.control.load("echo", LOAD_S)
        assert unpack((await scratch.triton.infer(echo(1, 2))).outputs[0]) == [1, 2]
        assert len(segments(state)) == 2  # of the self-test's stub and of echo's
        shared, resident = scratch.pss_bytes("echo"), scratch.control.memory_bytes("echo")
        assert shared is not None
        assert resident is not None
        assert 0 < shared < resident
        assert scratch.pss_bytes("unknown") is None
        assert scratch.address.startswith("127.0.0.1:")
        server = int(json.loads((folder / "triton.pid").read_text())["pid"])
        scores = [
            Path(f"/proc/{pid}/oom_score_adj") for pid in (server, *(one.pid for one in executors(server, "echo")))
        ]
        assert [score.read_text() for score in scores] == ["800\n", "800\n"]  # it dies before what serves
    assert left(state) == []
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == ["logs/triton.log"]
    with pytest.raises(Unavailable):
        _ = scratch.address


async def test_what_the_repository_stages_is_served_with_its_settings(scratch: ScratchTriton, state: Path) -> None:
    backends = frozenset(folder.name for folder in our_backends())
    repository = LocalRepository(state, ConverterInspector(), SystemClock(), Abilities(backends))
    settings = LoadOptions(
        instance_count=2, max_batch_size=3, queue_delay_us=50, threads=1, spinning=False, memory_arena=False
    )
    signature = await repository.stage(made(state), "fast", Description(), settings, scratch.repository)
    await scratch.control.load("fast", LOAD_S)
    assert await scratch.control.signature("fast") == signature
    assert signature.max_batch_size == 3
    answer = await scratch.triton.infer(Inference("fast", (pack("features", "FP32", (2, 8), [0.5] * 16),), 10))
    assert [(tensor.name, tensor.shape) for tensor in answer.outputs] == [("scores", (2, 3))]
    server = int(json.loads((state / "scratch" / "triton.pid").read_text())["pid"])
    assert len(executors(server, "fast")) == 2


def made(state: Path) -> Path:
    """A bare graph in a folder of ours, as a conversion leaves it."""
    version = state / "made" / "1"
    version.mkdir(parents=True)
    shutil.copy(MLP, version / "model.onnx")
    return version.parent


async def test_it_comes_back_empty_after_a_model_that_kills_it(scratch: ScratchTriton) -> None:
    put_model(scratch.repository, "echo")
    put_model(scratch.repository, "server_killer")
    await scratch.control.load("echo", LOAD_S)
    for deaths in (1, 2, 3, 4):  # four within a minute, and it is back at once after each
        with pytest.raises(DomainError):
            await scratch.control.load("server_killer", LOAD_S)
        assert scratch.deaths == deaths
        await scratch.ready()
    loaded = [entry.directory for entry in await scratch.control.index() if entry.state == "READY"]
    assert loaded == ["tritonplane-probe"]
    await scratch.control.load("echo", LOAD_S)
    assert unpack((await scratch.triton.infer(echo(3))).outputs[0]) == [3]


async def test_two_of_one_product_serve_beside_each_other(scratch: ScratchTriton, state: Path) -> None:
    async with scratch_tritons(state).open(state / "other") as other:
        for one, values in ((scratch, (1.0,)), (other, (2.0,))):
            put_model(one.repository, "echo")
            await one.control.load("echo", LOAD_S)
            assert unpack((await one.triton.infer(echo(*values))).outputs[0]) == list(values)
        assert other.address != scratch.address
    assert unpack((await scratch.triton.infer(echo(3))).outputs[0]) == [3]


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
async def test_interrupted_while_it_opens_it_leaves_nothing(state: Path, after_s: float) -> None:
    async def work() -> None:
        async with scratch_tritons(state).open(state / "scratch"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(after_s)  # in the preflight, between fork and exec, in the self-test
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(state) == []
    assert not (state / "scratch" / "triton.pid").exists()
    assert not (state / "scratch" / "repository").exists()


async def test_interrupted_with_a_request_in_flight_it_is_killed_without_being_asked_to_end(state: Path) -> None:
    log, is_loaded = state / "scratch" / "logs" / "triton.log", asyncio.Event()

    async def work() -> None:
        async with scratch_tritons(state).open(state / "scratch") as scratch:
            put_model(scratch.repository, "misbehaved")
            await scratch.control.load("misbehaved", LOAD_S)
            is_loaded.set()
            await scratch.triton.infer(wishing("freeze", timeout_s=60))

    task = asyncio.create_task(work())
    await is_loaded.wait()
    await until_frozen(log)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(state) == []
    assert "Signal (15) received" not in log.read_text()  # it would wait for the request


async def test_what_fails_inside_is_told_and_nothing_is_left(state: Path) -> None:
    with pytest.raises(KeyError):
        async with scratch_tritons(state).open(state / "scratch"):
            raise KeyError
    assert left(state) == []


async def test_it_says_why_it_cannot_start(state: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    with pytest.raises(Unavailable, match="holds a character that Triton would hand to a shell"):
        async with scratch_tritons(state).open(folder):
            pass
    with pytest.raises(Unsupported, match="Triton is not complete"):
        async with scratch_tritons(state, tmp_path / "tritonserver").open(state / "scratch"):
            pass
    assert left(state) == []


@pytest.mark.parametrize("is_folder_gone", [False, True])
def test_nothing_outlives_its_killed_owner(state: Path, is_folder_gone: bool) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(state)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "is stuck\n"
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert living(state) == []
    assert segments(state)  # nobody is left to remove them
    if is_folder_gone:  # the job was given up, and its workspace removed
        shutil.rmtree(state / "jobs")
        scratch_tritons(state).sweep()
        assert segments(state) == []
    old = set(segments(state))
    assert not old & set(asyncio.run(segments_of_the_next(state)))
    assert left(state) == []


async def segments_of_the_next(state: Path) -> list[str]:
    async with scratch_tritons(state).open(state / "jobs" / "scratch") as scratch:
        assert scratch.deaths == 0
        return segments(state)
