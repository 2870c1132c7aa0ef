"""What the commands of jobs and events print, and how they end."""

from __future__ import annotations

import json

import pytest
from tritonplane_client import watching

from tests.doubles.plane import Miniature
from tests.unit.cli.conftest import Command


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch connects again at once."""
    monkeypatch.setattr(watching, "FIRST_WAIT_S", 0.0)


def test_jobs_are_listed_in_columns(command: Command) -> None:
    lines = command("jobs", "list", "--state", "failed", "--state", "running").stdout.splitlines()
    assert lines[0].split() == ["ID", "KIND", "MODEL", "STATE", "PROGRESS", "AT", "CREATED", "BY"]
    assert lines[1].split()[:5] == ["job_bad", "import", "new", "failed", "90%"]
    assert "no recipe for 'mamba' (UNSUPPORTED_FORMAT)" in lines[1]
    assert lines[2].split()[:4] == ["job_endless", "import", "new", "running"]


def test_filters_of_jobs_are_passed_on(command: Command, plane: Miniature) -> None:
    command("jobs", "list", "--kind", "import", "--model", "new", "--limit", "7")
    assert plane.seen[0].query == {"kind": "import", "model": "new", "limit": "7", "skip": "0"}


def test_a_job_is_shown_with_everything_known_of_it(command: Command) -> None:
    shown = dict(line.split(maxsplit=1) for line in command("jobs", "show", "job_bad").stdout.splitlines())
    assert (shown["state"].strip(), shown["progress"].strip()) == ("failed", "90%")
    assert shown["error"].strip() == "no recipe for 'mamba' (UNSUPPORTED_FORMAT)"


@pytest.mark.parametrize("job_id", ["job_1", "job_cut"])
def test_a_watch_says_in_lines_what_changes_and_ends_with_the_job(command: Command, job_id: str) -> None:
    result = command("jobs", "watch", job_id)
    assert result.stdout == "completed import of new\n"
    assert result.stderr.removesuffix("\n").split("\n") == [
        "  0% queued",
        "  0% running",
        " 40% converting",
        " 90% checking\u2028é",
        "100% completed",
    ]
    assert result.exit_code == 0


def test_a_job_that_failed_is_said_in_one_sentence_with_exit_code_1(command: Command) -> None:
    result = command("jobs", "watch", "job_bad")
    assert result.stderr.endswith(
        "tritonplane: no recipe for 'mamba' (UNSUPPORTED_FORMAT)\n"
        "hint: `tritonplane jobs log job_bad` shows what it wrote\n"
    )
    assert (result.stdout, result.exit_code) == ("", 1)


def test_a_job_that_was_cancelled_is_not_taken_for_a_completed_one(command: Command, plane: Miniature) -> None:
    plane.jobs.states["job_1"] = "cancelled"
    result = command("jobs", "watch", "job_1")
    assert "tritonplane: the job was cancelled" in result.stderr
    assert (result.stdout, result.exit_code) == ("", 1)


def test_a_watch_as_json_is_a_line_for_each_event(command: Command) -> None:
    result = command("jobs", "watch", "job_bad", "--json")
    events = [json.loads(line) for line in result.stdout.removesuffix("\n").split("\n")]
    assert [event["seq"] for event in events] == list(range(11, 17))
    assert (events[-1]["kind"], events[-1]["error"]["code"]) == ("failed", "UNSUPPORTED_FORMAT")
    assert result.exit_code == 1


def test_a_job_is_cancelled_unless_it_is_over(command: Command) -> None:
    assert command("jobs", "cancel", "job_endless").stdout == "cancelled job_endless\n"
    over = command("jobs", "cancel", "job_1")
    assert "the job is over: completed (CONFLICT)" in over.stderr
    assert over.exit_code == 1


def test_a_log_is_printed_without_what_a_terminal_would_obey(command: Command, plane: Miniature) -> None:
    assert command("jobs", "log", "job_1", "--lines", "3").stdout == "converting\nan escape \n"
    assert plane.seen[0].query == {"lines": "3"}
    said = json.loads(command("jobs", "log", "job_1", "--json").stdout)
    assert said == {"id": "job_1", "log": "converting\nan escape \x1b[2J\n"}


@pytest.mark.parametrize(
    "arguments", [("jobs", "list"), ("jobs", "show", "job_bad"), ("jobs", "cancel", "job_endless")]
)
def test_json_of_jobs_is_what_the_server_said(command: Command, plane: Miniature, arguments: tuple[str, ...]) -> None:
    assert json.loads(command(*arguments, "--json").stdout) == plane.said[-1]


def test_an_unknown_job_is_one_sentence(command: Command) -> None:
    for verb in ("show", "watch", "cancel", "log"):
        result = command("jobs", verb, "job_none")
        assert result.stderr == "tritonplane: no job 'job_none' (NOT_FOUND)\n"
        assert result.exit_code == 1
