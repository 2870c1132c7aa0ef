"""A server left behind is ended at the next start, and nobody else is."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from control_plane.gateways.triton import process_record

SLEEP = Path(shutil.which("sleep") or "/bin/sleep")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([SLEEP, "60"])
    yield process
    process.kill()
    process.wait()


def test_a_recorded_process_is_killed(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record = tmp_path / "triton.pid"
    process_record.write(record, sleeper.pid, SLEEP, "tpnobody_")
    assert process_record.reap(record) == [sleeper.pid]
    assert not psutil.pid_exists(sleeper.pid)
    assert not record.exists()


def test_a_process_that_only_has_the_same_id_lives(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record = tmp_path / "triton.pid"
    process_record.write(record, sleeper.pid, SLEEP, "tpnobody_")
    told = json.loads(record.read_text())
    record.write_text(json.dumps({**told, "started": told["started"] - 1}))
    assert process_record.reap(record) == []
    assert sleeper.poll() is None


def test_a_stub_is_known_by_the_shared_memory_in_its_arguments(tmp_path: Path) -> None:
    record = tmp_path / "triton.pid"
    command = ["bash", "-c", "echo up; read line", "tpours_segment"]
    stub = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert stub.stdout is not None
    stub.stdout.readline()  # the kernel shows the arguments a moment after the start
    process_record.write(record, stub.pid, SLEEP, "tpours_")
    assert process_record.reap(record) == [stub.pid]
    assert not psutil.pid_exists(stub.pid)
    assert stub.stdin is not None
    stub.stdin.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path, text: str) -> None:
    record = tmp_path / "triton.pid"
    record.write_text(text)
    assert process_record.reap(record) == []
