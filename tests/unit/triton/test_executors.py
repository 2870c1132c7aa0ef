"""Which processes of a server execute a model directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from control_plane.gateways.triton.executors import executors, pss_bytes, resident_bytes


@pytest.fixture
def stub() -> Iterator[subprocess.Popen[bytes]]:
    """A child named as Triton names its own, begun by a thread that is not the main one, as Triton's are."""
    command = ["/opt/triton_python_backend_stub", "-c", "print(flush=True); input()", "mlp--r1_0_0", "/opt"]
    begun: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        begun.append(subprocess.Popen(command, 0, sys.executable, subprocess.PIPE, subprocess.PIPE))
        has_begun.set()
        goes_on.wait()

    has_begun, goes_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=begin)
    thread.start()
    has_begun.wait()
    with begun[0] as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()
    goes_on.set()
    thread.join()


def test_a_stub_is_known_by_its_server_and_the_name_of_its_instance(stub: subprocess.Popen[bytes]) -> None:
    assert [process.pid for process in executors(os.getpid(), "mlp--r1")] == [stub.pid]
    assert executors(os.getpid(), "mlp--r") == []
    assert executors(os.getppid(), "mlp--r1") == []
    assert (resident_bytes(os.getpid(), "mlp--r1") or 0) > 2**20
    assert 2**18 < (pss_bytes(os.getpid(), "mlp--r1") or 0) < (resident_bytes(os.getpid(), "mlp--r1") or 0)


def test_a_server_that_is_gone_has_none() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert executors(gone.pid, "mlp--r1") == []
    assert resident_bytes(gone.pid, "mlp--r1") is None
    assert pss_bytes(gone.pid, "mlp--r1") is None
