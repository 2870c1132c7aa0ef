"""Conversions through the gateway, in real children of the real converter environment."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest

import converters
from control_plane.domain.errors import (
    DomainError,
    EngineFailed,
    InvalidRequest,
    Unavailable,
    Unsupported,
    UnsupportedFormat,
)
from control_plane.domain.jobs import JsonObject
from control_plane.gateways.processes.conversions import ConverterRunner
from control_plane.gateways.processes.environment import GivenEnvironment, Interpreter
from control_plane.gateways.processes.spawn import run_child
from control_plane.ports import Conversion, Progress
from tests.disks import small_disk

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-convert" / "bin" / "python"
MLP = ROOT / "tests" / "fixtures" / "mlp" / "model.onnx"


class ReadyEnvironment(GivenEnvironment):
    """Already looked at: importing torch takes seconds."""

    async def prepare(self, report: object) -> None: ...


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with one recipe more."""
    copy = tmp_path_factory.mktemp("code") / "converters"
    shutil.copytree(Path(converters.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "doubles" / "rehearsal_recipe.py", copy / "recipes" / "rehearsal.py")
    return copy


@pytest.fixture
def runner(tmp_path: Path, code: Path) -> ConverterRunner:
    return ConverterRunner(ReadyEnvironment(PYTHON), tmp_path / "way", code)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def unheard(_: Progress) -> None: ...


def rehearsal(workspace: Path, *acts: str) -> JsonObject:
    note = str(workspace.parent / "note")
    return {
        "source": str(MLP),
        "steps": [{"recipe": "rehearsal", "parameters": {"act": act, "note": note}} for act in acts],
    }


async def rehearse(runner: ConverterRunner, workspace: Path, *acts: str) -> Conversion:
    return await runner.convert(workspace, rehearsal(workspace, *acts), unheard)


def noted(workspace: Path) -> list[str]:
    return (workspace.parent / "note").read_text().splitlines()


async def test_a_conversion_tells_its_progress_and_what_it_made(tmp_path: Path, workspace: Path) -> None:
    runner = ConverterRunner(ReadyEnvironment(PYTHON), tmp_path / "way")
    said: list[Progress] = []
    made = await runner.convert(workspace, {"source": str(MLP), "precision": "int8"}, said.append)

    fractions = [progress.fraction for progress in said]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert made.directory == workspace / "model"
    assert sorted(path.name for path in (made.directory / "1").iterdir()) == ["model.onnx"]
    assert (made.directory / "source" / "model.onnx").read_bytes() == MLP.read_bytes()
    assert made.description.parameters == 195
    assert [step["recipe"] for step in made.record["steps"]] == ["onnx_dynamic_int8"]  # type: ignore[attr-defined]
    assert {"steps", "checks", "tools"} <= made.record.keys()

    again = await run_child(
        ["sh", str(workspace / "reproduce.sh"), str(MLP), str(tmp_path / "again")],
        env={**os.environ, "TRITONPLANE_CONVERTER_PYTHON": str(PYTHON), "PYTHONPATH": str(tmp_path / "way")},
        timeout_s=60,
    )
    assert again.stdout.endswith(b"model/1/model.onnx: OK\n"), again.stderr
    assert str(ROOT) not in (workspace / "reproduce.sh").read_text()


async def test_what_libraries_print_is_in_the_log_and_never_among_the_events(
    runner: ConverterRunner, workspace: Path
) -> None:
    made = await rehearse(runner, workspace, "be_noisy")
    log = (workspace / "log.txt").read_text()
    assert made.description.labels["act"] == "be_noisy"
    assert "a library writes\na program writes\n" in log
    assert "python writes\n" in log


async def test_a_child_sees_nothing_of_ours_and_leaves_nothing(
    runner: ConverterRunner, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITONPLANE_BOOTSTRAP_ADMIN_KEY", "tpk_secret")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid")
    made = await rehearse(runner, workspace, "look_around")
    around = json.loads((made.directory / "1" / "around.json").read_text())

    assert around["seen"] == []
    names = around["environment"].keys()
    assert not [name for name in names if "TRITONPLANE" in name or "proxy" in name.lower()]
    assert around["environment"]["HF_HUB_OFFLINE"] == around["environment"]["TRANSFORMERS_OFFLINE"] == "1"
    assert around["environment"]["HOME"] == around["environment"]["TMPDIR"] == str(workspace / "tmp")
    assert (around["folder"], around["oom_score_adj"], around["core_bytes"]) == (str(workspace), 800, [0, 0])
    assert around["niceness"] == 10
    kept = {"job.json", "log.txt", "model", "original", "reproduce.sh", "steps"}
    assert set(os.listdir(workspace)) == kept


@pytest.mark.parametrize(
    ("act", "error", "said", "details"),
    [
        ("refuse", InvalidRequest, "layer 3 of model.onnx is odd", {"layer": 3}),
        ("be_unsupported", UnsupportedFormat, "nobody takes this", {"architecture": "X"}),
        ("lack", Unsupported, "this needs a GPU", {"requires": ["nvidia_gpu"]}),
        ("be_wrong", EngineFailed, "it does not answer as its source", {"check": {"value": 2.0}}),
        ("err", EngineFailed, "the conversion failed (KeyError); its log says more", {}),
        ("starve", EngineFailed, "the conversion broke off: it was killed; it most likely needed more memory", {}),
        ("crash", EngineFailed, "the conversion broke off: it crashed (SIGSEGV)", {}),
        ("vanish", EngineFailed, "the conversion ended with code 0 and without an answer", {}),
        ("garble", EngineFailed, "the conversion said something that is no event", {}),
    ],
)
async def test_each_way_to_fail_is_an_error_of_the_domain(
    runner: ConverterRunner, workspace: Path, act: str, error: type[DomainError], said: str, details: JsonObject
) -> None:
    with pytest.raises(error) as failed:
        await rehearse(runner, workspace, act)
    assert type(failed.value) is error
    assert failed.value.message.startswith(said)
    assert "/" not in failed.value.message
    assert failed.value.details == details
    assert not (workspace / "tmp").exists()


async def test_a_request_that_is_none_is_refused(runner: ConverterRunner, workspace: Path) -> None:
    with pytest.raises(InvalidRequest, match="not a conversion request"):
        await runner.convert(workspace, {"sauce": "x"}, unheard)


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_conversion_goes_on_after_the_last_finished_step(
    runner: ConverterRunner, workspace: Path, position: int
) -> None:
    acts = ["copy", "copy", "copy"]
    acts[position] = "die_once"
    with pytest.raises(EngineFailed, match="it was killed"):
        await rehearse(runner, workspace, *acts)
    await rehearse(runner, workspace, *acts)
    assert noted(workspace) == [*acts[: position + 1], *acts[position:]]


async def test_a_finished_step_whose_files_are_damaged_is_done_again(runner: ConverterRunner, workspace: Path) -> None:
    await rehearse(runner, workspace, "copy", "copy")
    (workspace / "steps" / "00-rehearsal" / "files" / "stray").write_text("a check was interrupted")
    await rehearse(runner, workspace, "copy", "copy")
    assert len(noted(workspace)) == 2

    (workspace / "steps" / "01-rehearsal" / "files" / "model.onnx").unlink()
    await rehearse(runner, workspace, "copy", "copy")
    assert len(noted(workspace)) == 3


async def test_cancelling_kills_the_child_and_all_that_it_started_within_two_seconds(
    runner: ConverterRunner, workspace: Path
) -> None:
    converting = asyncio.create_task(rehearse(runner, workspace, "hang_with_family"))
    family = await asyncio.to_thread(_family, workspace)
    began = time.monotonic()
    converting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await converting
    while any(map(_lives, family)):  # noqa: ASYNC110 - killed, each of them, but the kernel has yet to end them
        await asyncio.sleep(0.01)
    assert time.monotonic() - began < 2
    assert not (workspace / "tmp").exists()


async def test_a_grandchild_that_is_left_behind_does_not_keep_a_conversion_from_ending(
    runner: ConverterRunner, workspace: Path
) -> None:
    await asyncio.wait_for(rehearse(runner, workspace, "leave_family_behind"), 30)


async def test_the_family_dies_with_the_server(workspace: Path, code: Path) -> None:
    program = (
        "import asyncio, json, sys; from pathlib import Path;"
        "from control_plane.gateways.processes.conversions import ConverterRunner;"
        "from tests.integration.converters.test_conversions import ReadyEnvironment, unheard;"
        "python, way, code, workspace, request = sys.argv[1:];"
        "runner = ConverterRunner(ReadyEnvironment(Path(python)), Path(way), Path(code));"
        "asyncio.run(runner.convert(Path(workspace), json.loads(request), unheard))"
    )
    arguments = (
        PYTHON,
        workspace.parent / "way",
        code,
        workspace,
        json.dumps(rehearsal(workspace, "hang_with_family")),
    )
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", program, *map(str, arguments), cwd=ROOT)
    family = await asyncio.to_thread(_family, workspace)
    server.kill()
    await server.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=2)
    assert not [process for process in alive if _lives(process)]


async def test_a_full_disk_loses_nothing(runner: ConverterRunner, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        workspace = disk.path / "workspace"
        workspace.mkdir()
        with pytest.raises(Unavailable, match="the disk with the server's state directory is full"):
            await rehearse(runner, workspace, "copy", "fill_disk")
        assert psutil.disk_usage(str(disk.path)).percent < 50

        await rehearse(runner, workspace, "copy", "copy")
        assert noted(workspace) == ["copy", "fill_disk", "copy"]


async def test_the_catalog_tells_what_this_machine_lacks_and_is_read_once(tmp_path: Path, code: Path) -> None:
    environment = ReadyEnvironment(PYTHON)
    runner = ConverterRunner(environment, tmp_path / "way", code)
    found = {recipe.name: recipe for recipe in (await runner.catalog()).recipes}
    assert found["rehearsal"].available
    assert found["onnx_dynamic_int8"].available
    basic = (await runner.catalog()).levels[0]
    assert (basic.name, basic.min_accuracy, basic.candidates_max) == ("basic", 0.9999, 1)
    assert basic.candidates[0].steps == ({"recipe": "onnx_optimize", "parameters": {"level": "basic"}},)
    assert await runner.catalog() is await runner.catalog()

    environment._interpreter = Interpreter("/nowhere", "gone")
    without = {recipe.name: recipe for recipe in (await runner.catalog()).recipes}
    assert without.keys() == found.keys()


def _family(workspace: Path) -> list[psutil.Process]:
    pids = workspace.parent / "note.pids"
    until = time.monotonic() + 30
    while not pids.exists():
        assert time.monotonic() < until, "the conversion did not begin"
        time.sleep(0.02)
    family = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    assert len(family) == 3
    return family


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
