"""A Triton that somebody else runs: used, watched, and told what to load only where it reads our repository."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.domain.errors import Unavailable, Unsupported
from control_plane.domain.tensors import unpack
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.triton import server_process
from control_plane.gateways.triton.backend_directory import build_backend_directory
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.external import ExternalTriton
from control_plane.gateways.triton.installation import find_installation
from control_plane.gateways.triton.preflight import take_ports
from control_plane.gateways.triton.server_process import Ports, ServerProcess
from tests.triton import LOAD_S, READY_S, RunningTriton, echo, is_ready, put_model


@asynccontextmanager
async def _stranger(state_dir: Path, ports: Ports | None = None) -> AsyncIterator[tuple[ServerProcess, Ports]]:
    """A tritonserver that knows nothing of us; it serves what lies in its repository."""
    config = TritonConfig(state_dir, exit_timeout_s=1)
    installation = find_installation()
    config.repository.mkdir(parents=True, exist_ok=True)
    build_backend_directory(config.backends, installation)
    ports = ports or take_ports(config)
    prefix = f"tpstranger{secrets.token_hex(4)}_"
    server = await server_process.start(config, installation, ports, "stranger", prefix)
    try:
        yield server, ports
    finally:
        await server.stop(3)


def _unreachable(status: TritonStatus) -> bool:
    return status.state is TritonState.UNREACHABLE


async def test_a_server_with_our_repository_loads_what_we_say(triton: RunningTriton) -> None:
    assert triton.supervisor.address is not None
    config = TritonConfig(triton.repository.parent)
    started: list[str] = []

    async def hook(quarantined: frozenset[str]) -> None:
        started.append(external.status().repository)

    external = ExternalTriton(config, [triton.supervisor.address], SystemClock(), hook)
    async with external:
        status = await external.wait_until(is_ready, READY_S)
        assert (status.repository, status.version) == ("shared", "2.51.0")
        put_model(triton.repository, "echo")
        await external.control.load("echo", LOAD_S)
        assert unpack((await external.triton.infer(echo(4))).outputs[0]) == [4]
        assert external.control.memory_bytes("echo") is None
        await external.replace("it is not ours")
        assert is_ready(external.status())
    assert started == ["shared"]
    assert external.status().state is TritonState.STOPPED


async def test_it_is_ready_only_once_its_models_are_known(triton: RunningTriton) -> None:
    assert triton.supervisor.address is not None
    seen: list[TritonState] = []

    async def hook(quarantined: frozenset[str]) -> None:
        seen.append(external.status().state)
        if len(seen) == 1:
            raise Unavailable("it went away while it was looked at")

    external = ExternalTriton(TritonConfig(triton.repository.parent), [triton.supervisor.address], SystemClock(), hook)
    async with external:
        await external.wait_until(is_ready, READY_S)
    assert seen == [TritonState.LOADING, TritonState.LOADING]


async def test_the_triton_of_another_control_plane_is_read_only(triton: RunningTriton, tmp_path: Path) -> None:
    assert triton.supervisor.address is not None
    config = TritonConfig(tmp_path / "ours")
    async with ExternalTriton(config, [triton.supervisor.address], SystemClock()) as external:
        status = await external.wait_until(is_ready, READY_S)

    assert status.repository == "read-only"


async def test_a_server_with_another_repository_is_read_only_and_says_what_to_do(tmp_path: Path) -> None:
    async with (
        _stranger(tmp_path / "theirs") as (_, ports),
        ExternalTriton(TritonConfig(tmp_path / "ours"), [ports.address], SystemClock()) as external,
    ):
        status = await external.wait_until(is_ready, READY_S)
        assert status.repository == "read-only"
        for order in (external.control.load, external.control.unload):
            with pytest.raises(Unsupported, match="--model-control-mode=explicit"):
                await order("echo", LOAD_S)
        assert list(await external.control.index()) == []


async def test_a_server_that_goes_away_is_unreachable_until_it_is_back(tmp_path: Path) -> None:
    async with _stranger(tmp_path / "theirs") as (server, ports):
        external = ExternalTriton(TritonConfig(tmp_path / "ours"), [ports.address], SystemClock())
        async with external:
            await external.wait_until(is_ready, READY_S)
            os.kill(server.pid, signal.SIGKILL)
            status = await external.wait_until(_unreachable, READY_S)
            assert status.reason == "Triton does not answer; it may be restarting"
            with pytest.raises(Unavailable):
                await external.triton.infer(echo(1))
            async with _stranger(tmp_path / "theirs", ports):
                await external.wait_until(is_ready, READY_S)


async def test_a_server_that_was_never_there_is_unreachable(tmp_path: Path) -> None:
    async with ExternalTriton(TritonConfig(tmp_path), ["127.0.0.1:1"], SystemClock()) as external:
        await external.wait_until(_unreachable, READY_S)


@pytest.mark.parametrize("endpoints", [[], ["a:1", "b:1"]])
async def test_any_number_of_endpoints_but_one_is_refused(tmp_path: Path, endpoints: list[str]) -> None:
    with pytest.raises(Unsupported, match="exactly one") as caught:
        ExternalTriton(TritonConfig(tmp_path), endpoints, SystemClock())
    assert caught.value.details["requires"] == ["one host:port in TRITONPLANE_TRITON_ENDPOINTS"]
