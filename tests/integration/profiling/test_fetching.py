"""How a perf_analyzer comes into the state directory, with a wheel that stands in for NVIDIA's and the real pip."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from control_plane.domain.errors import Unsupported
from control_plane.gateways.processes.diagnosis import perf_analyzer
from control_plane.gateways.processes.perf_analyzer import PerfAnalyzer
from control_plane.gateways.processes.perf_analyzer_bundle import Bundle, fetch, fetched, version_of
from control_plane.ports import Progress

PROGRAM = "#!/bin/sh\necho 'Perf Analyzer Version 9.1 (commit unknown)' >&2\n"
BROKEN = '#!/bin/sh\necho "/opt/x/perf_analyzer: error while loading shared libraries: libb64.so.0d" >&2\nexit 127\n'


TRITONPLANE = Path(sys.executable).parent / "tritonplane"


def unheard(_: str) -> None: ...


def bundle_in(folder: Path, program: str) -> Bundle:
    """A wheel in a folder, and its pin."""
    wheel = folder / "stand_in-9.1-py3-none-any.whl"
    files = {
        "stand_in/bin/perf_analyzer": program,
        "stand_in-9.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: stand-in\nVersion: 9.1\n",
        "stand_in-9.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr("stand_in-9.1.dist-info/RECORD", "".join(f"{path},,\n" for path in files))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Bundle("stand-in", "9.1", (digest,), "stand_in/bin/perf_analyzer")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip is configured as by a user without a network: only this folder."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


async def test_two_who_fetch_at_once_get_one_whole_program(wheels: Path, tmp_path: Path) -> None:
    bundle, folder = bundle_in(wheels, PROGRAM), tmp_path / "tools" / "perf_analyzer-9.1"
    (tmp_path / "tools" / "perf_analyzer-9.1.draft" / "in").mkdir(parents=True)  # as one that was killed leaves it
    said: list[Progress] = []
    output: list[str] = []
    await asyncio.gather(*(fetch(bundle, folder, said.append, output.append) for _ in range(2)))

    found = fetched(folder)
    assert found is not None
    assert await version_of(found) == "9.1"
    assert {path.name for path in folder.parent.iterdir()} == {"perf_analyzer-9.1", "perf_analyzer-9.1.lock"}
    assert [progress.message for progress in said].count("perf_analyzer is ready") == 2
    assert "waiting for another process that fetches perf_analyzer" in [progress.message for progress in said]
    assert sum(line.startswith("Successfully installed") for line in output) == 1


async def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    bundle, folder = bundle_in(wheels, PROGRAM), tmp_path / "tools" / "perf_analyzer-9.1"
    bundle_in(wheels, f"{PROGRAM}# something else\n")
    with pytest.raises(Unsupported, match="could not be fetched: THESE PACKAGES DO NOT MATCH THE HASHES"):
        await fetch(bundle, folder, [].append, unheard)
    assert [path.name for path in folder.parent.iterdir()] == ["perf_analyzer-9.1.lock"]


async def test_a_program_that_does_not_run_here_is_not_kept(wheels: Path, tmp_path: Path) -> None:
    bundle, folder = bundle_in(wheels, BROKEN), tmp_path / "tools" / "perf_analyzer-9.1"
    with pytest.raises(Unsupported, match=r"does not run here: perf_analyzer: error while loading .* libb64\.so\.0d$"):
        await fetch(bundle, folder, [].append, unheard)
    assert fetched(folder) is None


async def test_without_an_index_it_says_so_in_one_sentence(wheels: Path, tmp_path: Path) -> None:
    analyzer = PerfAnalyzer(tmp_path / "tools")
    with pytest.raises(Unsupported) as refused:
        await analyzer.prepare([].append)
    assert refused.value.message.startswith(
        "perf_analyzer could not be fetched: no index or wheel directory that pip is configured with has "
    )
    assert refused.value.details["requires"] == ["perf_analyzer"]
    assert analyzer.current() is None


async def test_an_own_program_is_used_and_nothing_is_fetched(wheels: Path, tmp_path: Path) -> None:
    program = tmp_path / "own"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    analyzer = PerfAnalyzer(tmp_path / "tools", program)
    await analyzer.prepare([].append)
    assert await analyzer.version() == "9.1"
    assert not (tmp_path / "tools").exists()

    missing = PerfAnalyzer(tmp_path / "tools", tmp_path / "nowhere")
    with pytest.raises(Unsupported, match="TRITONPLANE_PERF_ANALYZER names no file"):
        await missing.prepare([].append)


async def test_the_doctor_says_which_one_would_be_used_and_whether_it_runs(wheels: Path, tmp_path: Path) -> None:
    absent = await perf_analyzer(PerfAnalyzer(tmp_path / "tools"))
    assert absent.ok
    assert "is not fetched yet: on first need, or now by `tritonplane setup perf`" in absent.reason

    program = tmp_path / "own"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    own = await perf_analyzer(PerfAnalyzer(tmp_path / "tools", program))
    assert (own.ok, own.reason) == (True, "9.1, of TRITONPLANE_PERF_ANALYZER")

    program.write_text(BROKEN)
    broken = await perf_analyzer(PerfAnalyzer(tmp_path / "tools", program))
    assert not broken.ok
    assert "libb64.so.0d" in broken.reason
    assert broken.remedy == "set TRITONPLANE_PERF_ANALYZER to a perf_analyzer that runs, or unset it"


def set_up(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRITONPLANE_STATE_DIR": str(tmp_path / "state"), **variables}
    command = [str(TRITONPLANE), "setup", "perf", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_setup_command_says_what_is_there(wheels: Path, tmp_path: Path) -> None:
    program = tmp_path / "own"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    result = set_up(tmp_path, "--json", TRITONPLANE_PERF_ANALYZER=str(program))
    assert (result.returncode, json.loads(result.stdout)) == (0, {"program": str(program), "version": "9.1"})
    told = set_up(tmp_path, TRITONPLANE_PERF_ANALYZER=str(program))
    assert told.stdout == "load on models comes from perf_analyzer 9.1\n"


def test_the_setup_command_shows_what_pip_said_when_it_fails(wheels: Path, tmp_path: Path) -> None:
    result = set_up(tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "ERROR: No matching distribution found" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("tritonplane: perf_analyzer could not be fetched: no index or wheel directory")
