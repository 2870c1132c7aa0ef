"""Into a life of Triton: everything looked at and prepared, then the process."""

from __future__ import annotations

import asyncio
import secrets

from control_plane.gateways.triton import server_process, shared_memory
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.installation import Installation, find_installation
from control_plane.gateways.triton.leftovers import clean_up
from control_plane.gateways.triton.preflight import preflight, prepare_disk, take_ports
from control_plane.gateways.triton.server_process import ServerProcess


async def launch(config: TritonConfig) -> ServerProcess:
    """Raises: Unsupported, Unavailable, OSError. Interrupted, it leaves nothing that runs."""
    installation = find_installation(config.binary)
    config.state_dir.mkdir(parents=True, exist_ok=True)
    await preflight(config, installation)
    starting = asyncio.create_task(_start(config, installation))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            await starting.result().kill()
        clean_up(config)
        raise


async def _start(config: TritonConfig, installation: Installation) -> ServerProcess:
    await asyncio.to_thread(prepare_disk, config, installation)
    name, prefix = f"tritonplane-{secrets.token_hex(6)}", shared_memory.life_prefix(config.family())
    return await server_process.start(config, installation, take_ports(config), name, prefix)
