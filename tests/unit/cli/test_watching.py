"""Watching as a process of its own: a terminal, a pipe, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.doubles.plane import Miniature
from tests.product import TRITONPLANE
from tests.unit.cli.test_terminal import _on_a_terminal


@pytest.fixture
def environment(plane: Miniature, state_dir: Path) -> dict[str, str]:
    return {**os.environ, "TRITONPLANE_URL": plane.url, "TRITONPLANE_STATE_DIR": str(state_dir)}


def test_a_terminal_shows_a_bar_and_what_the_job_is_at(environment: dict[str, str]) -> None:
    shown = _on_a_terminal(environment, "jobs", "watch", "job_1")
    assert "100%" in shown
    assert "━" in shown
    assert "completed import of new" in shown


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_ctrl_c_leaves_the_job_running_and_says_so(
    environment: dict[str, str], plane: Miniature, more: list[str]
) -> None:
    command = [TRITONPLANE, "jobs", "watch", "job_endless", *more]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said = process.stdout if more else process.stderr
        assert said is not None
        while b"checking" not in said.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"the job goes on; `tritonplane jobs watch job_endless` watches it" in complaint
    assert b"Traceback" not in complaint
    assert plane.jobs.states["job_endless"] == "running"
    assert [seen.method for seen in plane.seen] == ["GET"]


def test_ctrl_c_in_a_run_leaves_the_optimization_running_and_says_how_to_come_back(
    environment: dict[str, str], plane: Miniature
) -> None:
    command = [TRITONPLANE, "optimize", "run", "slow"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while b"checking" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=10)
    assert process.returncode == 130
    assert (
        b"`tritonplane jobs watch opt_endless` watches it, `tritonplane jobs cancel opt_endless` ends it" in complaint
    )
    assert plane.jobs.states["opt_endless"] == "running"


def test_a_run_on_a_terminal_shows_a_bar_with_the_candidate_and_then_the_table(environment: dict[str, str]) -> None:
    shown = _on_a_terminal({**environment, "COLUMNS": "200"}, "optimize", "run", "coder")
    assert "━" in shown
    assert "int8-dynamic won: 2.00x as fast as the baseline" in shown


@pytest.mark.parametrize("as_json", [False, True])
def test_events_are_printed_as_they_come_until_ctrl_c(environment: dict[str, str], *, as_json: bool) -> None:
    command = [TRITONPLANE, "events", "--topic", "model", "--topic", "health", "--after", "0"]
    command += ["--json"] if as_json else []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"Traceback" not in complaint
    if as_json:
        assert [json.loads(line)["subject"] for line in lines] == ["coder", "coder:1"]
    else:
        assert lines[0].split()[2:] == ["1", "model", "coder", "loaded", '{"took_s":', "1.5}"]
        assert lines[1].split()[2:] == ["3", "health", "coder:1", "became_dead"]
