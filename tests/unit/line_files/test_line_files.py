"""Files of JSON lines: private, turned over when they are full, and lost lines are told of."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from control_plane.gateways import line_files
from control_plane.gateways.line_files import BufferedLineFile, LineFile, open_buffered_lines

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["number"] for line in path.read_text().splitlines()] if path.exists() else []


def test_c_audit_01_a_line_is_json_in_a_file_that_only_its_owner_reads(path: Path) -> None:
    file = LineFile(path)
    file.write({"at": NOON, "object": 'a"b\né'})
    file.write({"at": NOON, "object": "second"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text(encoding="utf-8").splitlines() == [
        '{"at": "2026-11-21T12:00:00.000Z", "object": "a\\"b\\né"}',
        '{"at": "2026-11-21T12:00:00.000Z", "object": "second"}',
    ]


def test_a_new_server_goes_on_where_the_last_one_ended(path: Path) -> None:
    for number in range(3):
        file = LineFile(path)
        file.write({"number": number})
        file.close()
    assert numbers(path) == [0, 1, 2]


def test_c_audit_01_a_full_file_is_turned_over_and_five_are_kept(path: Path) -> None:
    file = LineFile(path, bytes_max=200)
    for number in range(60):
        file.write({"number": number, "padding": "x" * 20})
    files = sorted(path.parent.iterdir())
    assert [one.name for one in files] == ["audit.log", *(f"audit.log.{place}" for place in range(1, 6))]
    assert all(one.stat().st_size <= 200 and one.stat().st_mode & 0o777 == 0o600 for one in files)
    newest = json.loads(path.read_text().splitlines()[-1])
    before = json.loads((path.parent / "audit.log.1").read_text().splitlines()[-1])
    assert (newest["number"], before["number"]) == (59, json.loads(path.read_text().splitlines()[0])["number"] - 1)


def test_what_utf_8_cannot_say_costs_a_character_and_no_line(path: Path) -> None:
    LineFile(path).append([{"number": 1}, {"number": 2, "object": "\ud800"}, {"number": 3}])
    assert numbers(path) == [1, 2, 3]


def test_a_line_that_was_broken_off_spoils_no_other(path: Path) -> None:
    path.write_text('{"number": 1}\n{"numb')
    LineFile(path).write({"number": 2})
    assert path.read_text().splitlines() == ['{"number": 1}', '{"numb', '{"number": 2}']


def test_a_line_that_cannot_be_written_is_told_of_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        LineFile(tmp_path / "no such folder" / "audit.log").write({"a": 1})
    assert [record.getMessage() for record in caplog.records] == ["lines are lost"]


async def test_buffered_lines_are_written_at_the_latest_when_they_are_closed(path: Path) -> None:
    async with open_buffered_lines(path) as lines:
        lines.write({"number": 1})
        lines.write({"number": 2})
        assert numbers(path) == []
    assert numbers(path) == [1, 2]


async def test_buffered_lines_reach_the_file_by_themselves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_files, "FLUSH_S", 0.001)
    async with open_buffered_lines(path) as lines:
        lines.write({"number": 1})
        while not numbers(path):  # noqa: ASYNC110 - the file does not tell
            await asyncio.sleep(0.001)


async def test_lines_that_a_slow_disk_cannot_take_are_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(line_files, "HELD_MAX", 2)
    lines = BufferedLineFile(LineFile(path))
    for number in range(5):
        lines.write({"number": number})
    await lines.flush()
    assert numbers(path) == [0, 1]
    assert caplog.records[-1].__dict__["lines"] == 3
