"""The converter environment as the real venv and pip make it, from a folder of wheels."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from control_plane.domain.environments import Choice, Making
from control_plane.domain.errors import Conflict, InvalidRequest, Unsupported
from control_plane.gateways.processes.diagnosis import converter_environment
from control_plane.gateways.processes.environment import MARKER, GivenEnvironment, MadeEnvironment
from control_plane.gateways.processes.packages import Requirements
from control_plane.gateways.processes.pip import PipOutput, pip_environment
from control_plane.gateways.processes.spawn import run_child
from control_plane.gateways.processes.stream import run_streamed
from control_plane.ports import Progress
from tests.disks import small_disk
from tests.doubles.wheels import write_wheel
from tests.integration.converters.conftest import PINS
from tests.survival.whole import is_alive


def unheard(_: Progress) -> None: ...


def versions_of(environment: MadeEnvironment) -> dict[str, str]:
    current = environment.current()
    assert current is not None
    versions: dict[str, str] = json.loads((Path(current.python).parents[1] / MARKER).read_text())["versions"]
    return versions


def folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


async def test_it_is_made_offline_with_progress_once_or_by_force(environment: MadeEnvironment, tmp_path: Path) -> None:
    said: list[Progress] = []
    output: list[str] = []
    made = await environment.make(Making(on_output=output.append), said.append)

    fractions = [progress.fraction for progress in said]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    messages = [progress.message for progress in said]
    assert "collecting torch (1 of 4)" in messages
    assert any(message.startswith("installing ") for message in messages)
    assert output[-1].startswith("Successfully installed")
    assert output == (tmp_path / "converter" / "setup.log").read_text().splitlines()
    imports = await run_child([made.python, "-c", "import torch, onnx, numpy"], env=os.environ, timeout_s=20)
    assert b"No module named 'numpy'" in imports.stderr  # nothing of ours is in there

    assert versions_of(environment)["torch"] == "2.13.0+cpu"
    again: list[Progress] = []
    await environment.prepare(again.append)
    assert (again, environment.current()) == ([], made)

    with environment.in_use(), pytest.raises(Conflict, match="a conversion runs"):
        await environment.make(Making(force=True), unheard)
    assert environment.current() == made
    assert (await environment.make(Making(force=True), unheard)).stamp > made.stamp


async def test_a_choice_is_kept_when_the_requirements_change_and_the_old_environment_goes(
    environment: MadeEnvironment, requirements: Requirements, tmp_path: Path
) -> None:
    await environment.make(Making(Choice("cuda", ("engines",))), unheard)
    assert versions_of(environment)["torch"] == "2.13.0"  # not the CPU build, though it is offered
    first = folders(tmp_path / "converter")

    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "requirements.txt").write_text(f"# changed\n{requirements.main.read_text()}")
    (changed / "requirements-engines.txt").write_text("engines==1.0\n")
    newer = MadeEnvironment(tmp_path / "converter", Requirements(changed), has_gpu=False)
    assert newer.current() is None
    with environment.in_use():  # a conversion that runs at this moment
        await newer.prepare(unheard)
        assert len(folders(tmp_path / "converter")) == 2

    assert versions_of(newer)["torch"] == "2.13.0"
    current = newer.current()
    assert current is not None
    assert (await run_child([current.python, "-c", "import engines"], env=os.environ, timeout_s=20)).returncode == 0
    await newer.make(Making(Choice("cuda", ("engines",))), unheard)
    assert len(folders(tmp_path / "converter")) == 1
    assert folders(tmp_path / "converter") != first


async def test_two_makers_wait_for_each_other(environment: MadeEnvironment, requirements: Requirements) -> None:
    other = MadeEnvironment(environment._folder, requirements, has_gpu=False)
    said: list[str] = []
    await asyncio.gather(*(one.prepare(lambda progress: said.append(progress.message)) for one in (environment, other)))

    assert said.count("making a virtual environment") == 1
    assert said.count("waiting for another process that makes the converter environment") == 1
    assert environment.current() == other.current() is not None


async def test_a_package_that_nobody_offers_is_named_and_nothing_is_left(
    environment: MadeEnvironment, offline: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    write_wheel(tmp_path / "wheels", "torch", "2.12.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(Unsupported) as refused:
        await environment.prepare(unheard)

    assert "has no torch==2.13.0, only 2.12.0" in refused.value.message
    assert refused.value.details == {"requires": ["converter_environment"], "hint": "tritonplane setup convert"}
    assert str(tmp_path) not in refused.value.message
    assert (environment.current(), folders(tmp_path / "converter")) == (None, set())


async def pip_says(environment: dict[str, str], *requirements: str) -> str:
    """Why the real pip fails, in our words."""
    lines: list[str] = []
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", *requirements]
    passed = pip_environment({**os.environ, **environment}, Path("/nowhere"))
    returncode = await run_streamed(command, env=passed, on_line=lambda line: lines.append(line.decode()))
    assert returncode != 0
    output = PipOutput(1, unheard)
    for line in lines:
        output.read(line.rstrip())
    return output.failure(returncode)


async def test_a_build_that_is_not_offered_says_how_to_choose(offline: Path, tmp_path: Path) -> None:
    write_wheel(tmp_path, "torch", "2.13.0+cpu")
    reason = await pip_says({"PIP_FIND_LINKS": str(tmp_path)}, "torch==2.13.0", "torch!=2.13.0+cpu")
    assert reason.startswith("nothing that is offered is at once torch")
    assert reason.endswith("; --extra-index-url gives the index of another build, --torch chooses one")

    reason = await pip_says({"PIP_FIND_LINKS": str(tmp_path)}, "torch==2.13.0+cuda")
    assert "has no torch==2.13.0+cuda, only 2.13.0+cpu; --extra-index-url gives" in reason


async def test_an_index_that_does_not_answer_is_told_from_one_that_lacks_a_package(offline: Path) -> None:
    nowhere = {
        "PIP_NO_INDEX": "0",
        "PIP_FIND_LINKS": "",
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "1",
    }
    assert await pip_says(nowhere, "torch") == (
        "no package index can be reached for torch; check the network and proxy that pip uses"
    )
    assert await pip_says({}, "absent") == (
        "no index or wheel directory that pip is configured with has absent for this machine"
    )


async def test_a_package_that_cannot_be_imported_is_no_environment(
    environment: MadeEnvironment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, version in PINS.items():
        write_wheel(tmp_path, name, version)
    write_wheel(tmp_path, "torch", "2.13.0", "raise OSError('/usr/lib/x/libgomp.so.1 is missing')")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(Unsupported, match=r"torch cannot be imported: OSError: libgomp\.so\.1 is missing"):
        await environment.prepare(unheard)
    assert environment.current() is None


async def test_leaving_in_the_middle_leaves_nothing(environment: MadeEnvironment, tmp_path: Path) -> None:
    begun = asyncio.Event()
    before = set(psutil.Process().children(recursive=True))  # a Triton of other tests
    at_pip: list[psutil.Process] = []

    def report(progress: Progress) -> None:
        if progress.message.startswith("collecting") and not begun.is_set():
            at_pip.extend(set(psutil.Process().children(recursive=True)) - before)
            begun.set()

    making = asyncio.create_task(environment.prepare(report))
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert at_pip
    await asyncio.to_thread(_wait_for, lambda: not any(map(is_alive, at_pip)))
    assert folders(tmp_path / "converter") == set()


async def test_a_setup_that_was_killed_starts_over(
    environment: MadeEnvironment, requirements: Requirements, tmp_path: Path
) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path;"
        "from control_plane.gateways.processes.environment import MadeEnvironment;"
        "from control_plane.gateways.processes.packages import Requirements;"
        "made = MadeEnvironment(Path(sys.argv[1]), Requirements(Path(sys.argv[2])), has_gpu=False);"
        "asyncio.run(made.prepare(print))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "converter"), str(requirements.folder)]
    maker = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    children: list[psutil.Process] = []

    def is_at_work() -> bool:
        children[:] = psutil.Process(maker.pid).children(recursive=True)
        return bool(children) and any(tmp_path.glob("converter/*/pyvenv.cfg"))

    await asyncio.to_thread(_wait_for, is_at_work)
    maker.send_signal(signal.SIGKILL)
    await maker.wait()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=5)
    assert gone
    assert not alive
    assert len(folders(tmp_path / "converter")) == 1

    assert environment.current() is None
    await environment.prepare(unheard)
    assert environment.current() is not None


async def test_a_full_disk_is_called_so_and_gets_its_room_back(
    requirements: Requirements, offline: Path, tmp_path: Path
) -> None:
    # Enough for a folder of links, too little for pip.
    with small_disk(tmp_path / "disk", 8) as disk:
        environment = MadeEnvironment(disk.path / "converter", requirements, has_gpu=False)
        with pytest.raises(Unsupported, match="the disk is full"):
            await environment.prepare(unheard)
        assert folders(disk.path / "converter") == set()


async def test_what_is_not_offered_is_refused_before_anything_is_made(environment: MadeEnvironment) -> None:
    with pytest.raises(InvalidRequest, match="no extra 'engine'; it has: engines"):
        await environment.make(Making(Choice(extras=("engine",))), unheard)
    with pytest.raises(InvalidRequest, match="one of auto, cpu, cuda; got 'tpu'"):
        await environment.make(Making(Choice("tpu")), unheard)


async def test_the_doctor_tells_whether_it_is_there_sound_and_as_tested(
    environment: MadeEnvironment, requirements: Requirements, tmp_path: Path
) -> None:
    unmade = await converter_environment(environment, requirements)
    assert (unmade.ok, unmade.reason[:12]) == (True, "not made yet")

    made = await environment.make(Making(), unheard)
    assert "torch 2.13.0+cpu, transformers 5.23.0" in (await converter_environment(environment, requirements)).reason
    (tmp_path / "requirements.txt").write_text("torch==2.14.0\nonnx==1.23.2\n")
    other = await converter_environment(GivenEnvironment(Path(made.python)), Requirements(tmp_path))
    assert (other.ok, other.reason.partition("; ")[2]) == (True, "not as tested: torch 2.13.0+cpu (tested: 2.14.0)")

    for module in Path(made.python).parents[1].glob("lib/*/site-packages/onnx.py"):
        module.unlink()
    broken = await converter_environment(environment, requirements)
    assert (broken.ok, broken.remedy) == (False, "tritonplane setup convert --force")
    assert "onnx cannot be imported" in broken.reason
    gone = await converter_environment(GivenEnvironment(tmp_path / "nowhere"), requirements)
    assert (gone.ok, gone.reason) == (False, "the Python of TRITONPLANE_CONVERTER_PYTHON does not exist")


async def test_a_given_python_must_have_what_conversions_import() -> None:
    with pytest.raises(Unsupported, match="torch cannot be imported"):
        await GivenEnvironment(Path(sys.executable)).prepare(unheard)


def _wait_for(condition, within_s: float = 30) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
