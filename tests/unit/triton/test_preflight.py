"""What would make Triton hang, or run a stranger's command, is refused before it starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from control_plane.domain.errors import Unavailable, Unsupported
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.installation import PYTHON, STUB, Installation, find_installation
from control_plane.gateways.triton.preflight import preflight, take_ports


@pytest.mark.parametrize("folder", ["a b", "a$(touch x)", "a;b", "ü"])
async def test_a_state_directory_that_a_shell_would_read_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(Unsupported, match="state directory"):
        await preflight(TritonConfig(tmp_path / folder), find_installation())


async def test_a_stub_that_does_not_run_is_refused_with_its_own_words(tmp_path: Path) -> None:
    found = find_installation()
    stub = tmp_path / "stub"
    stub.write_text("#!/bin/sh\necho libpython3.11.so.1.0: cannot open shared object file >&2\nexit 127\n")
    stub.chmod(0o755)
    broken = Installation(found.server, found.backends, found.caches, stub, found.python_libraries)
    with pytest.raises(Unsupported, match="cannot open shared object file") as caught:
        await preflight(TritonConfig(tmp_path), broken)
    assert "apt-get install -y libpython3." in str(caught.value.details["requires"])


async def test_the_stub_of_this_machine_runs_and_keeps_its_permissions(tmp_path: Path) -> None:
    found = find_installation()
    await preflight(TritonConfig(tmp_path), found)
    assert found.stub.stat().st_mode & 0o555


def test_a_binary_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="tritonserver"):
        find_installation(tmp_path / "tritonserver")


def test_a_port_in_use_is_named_with_its_purpose(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port}, for Triton's metrics"):
            take_ports(TritonConfig(tmp_path, metrics_port=port))


@pytest.mark.parametrize(("built_for", "works"), [(PYTHON, True), ("3.10", False)])
def test_a_named_server_needs_a_stub_of_our_python(tmp_path: Path, built_for: str, works: bool) -> None:
    stub = tmp_path / "backends" / "python" / STUB
    server = tmp_path / "bin" / "tritonserver"
    for file in (stub, server):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"\x7fELF libpython%b.so.1.0" % built_for.encode())
    if works:
        assert find_installation(server).stub == stub
    else:
        with pytest.raises(Unsupported, match=r"built for Python 3\.10"):
            find_installation(server)
