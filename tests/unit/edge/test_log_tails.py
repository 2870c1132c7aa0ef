"""The end of a log, however it lies over the blocks it is read in."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.edge.http import log_tails
from control_plane.edge.http.log_tails import last_lines

LINES = [f"line {number}" + "x" * (number % 7) for number in range(40)]


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("wanted", [1, 2, 39, 40, 1000])
def test_the_last_lines_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, end: str, wanted: int
) -> None:
    monkeypatch.setattr(log_tails, "_BLOCK_BYTES", block)
    log = tmp_path / "log.txt"
    log.write_text("\n".join(LINES) + end)
    assert last_lines(log, wanted).decode() == "\n".join(LINES[-wanted:]) + end


def test_a_progress_bar_that_rewrites_its_line_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"before\n10%\r20%\r30%\nafter\n")
    assert last_lines(log, 2) == b"10%\r20%\r30%\nafter\n"


def test_a_line_without_end_is_cut_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tails, "BYTES_MAX", 100)
    log = tmp_path / "log.txt"
    log.write_bytes(b"a" * 1000 + b"b" * 100)
    assert last_lines(log, 5) == b"b" * 100


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_nothing_is_nothing(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(content)
    assert last_lines(log, 5) == content
    assert last_lines(tmp_path / "absent", 5) == b""
