"""Doctor's view of Triton: right on this machine, and each fault with its reason and remedy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from control_plane.gateways.clock import SystemClock
from control_plane.gateways.triton import diagnosis
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.diagnosis import Check
from tests.triton import leftovers


@pytest.mark.parametrize("check", diagnosis.CHECKS, ids=lambda check: check.__name__)
async def test_this_machine_passes_each_check(tmp_path: Path, check: Check) -> None:
    finding = await check(TritonConfig(tmp_path))
    assert finding.ok, finding
    assert finding.reason
    assert finding.remedy == ""


async def test_the_round_trip_asks_a_real_scratch_server_and_leaves_nothing(tmp_path: Path) -> None:
    finding = await diagnosis.round_trip(TritonConfig(tmp_path, exit_timeout_s=1), SystemClock())
    assert finding.ok, finding
    assert "2.51.0" in finding.reason
    assert "numpy 1." in finding.reason
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("check", [diagnosis.interpreter, diagnosis.libpython, diagnosis.backends])
async def test_a_missing_server_is_a_finding_with_a_remedy(tmp_path: Path, check: Check) -> None:
    finding = await check(TritonConfig(tmp_path, binary=tmp_path / "tritonserver"))
    assert not finding.ok
    assert "tritonserver" in finding.reason
    assert finding.remedy


async def test_a_state_directory_with_a_space_is_a_finding(tmp_path: Path) -> None:
    finding = await diagnosis.paths(TritonConfig(tmp_path / "my state"))
    assert (finding.name, finding.ok) == ("paths", False)
    assert "letters, digits" in finding.remedy


async def test_a_probe_that_is_not_installed_fails_the_round_trip_by_name(tmp_path: Path) -> None:
    finding = await diagnosis.round_trip(TritonConfig(tmp_path, probe=tmp_path / "none"), SystemClock())
    assert (finding.ok, finding.reason) == (False, "the self-test model is not installed")


def test_a_port_in_use_is_a_finding_that_tells_how_to_find_by_whom() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        http, grpc = diagnosis.ports({"http": port, "grpc": 0})
    assert (http.ok, http.reason) == (False, f"{port} is in use")
    assert str(port) in http.remedy
    assert grpc.ok
