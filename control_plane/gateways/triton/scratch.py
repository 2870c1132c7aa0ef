"""A Triton for one job: in a folder of its own, gone with all that it left, whoever ends first."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from control_plane.domain.errors import TimedOut, Unavailable
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.gateways.triton import process_record, shared_memory
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.control import Control
from control_plane.gateways.triton.executors import is_alive, pss_bytes
from control_plane.gateways.triton.installation import find_installation
from control_plane.gateways.triton.stub import TritonStub
from control_plane.gateways.triton.supervisor import BACKOFF_S, Supervisor
from control_plane.ports import Clock, ScratchTriton

log = logging.getLogger(__name__)
READY_S = 60.0
STARTS_MAX = 2  # in a row: between the choice of a free port and its use another program may take it


class LocalScratchTritons:
    """Satisfies `ports.ScratchTritons`.

    The names of their shared memory begin with what is known of the product's state directory alone: whatever became
    of a folder, the product's next start finds what a server in it has left (`sweep`).
    """

    def __init__(self, state_dir: Path, binary: Path | None, clock: Clock) -> None:
        self._state_dir, self._binary, self._clock = state_dir, binary, clock

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncGenerator[ScratchTriton, None]:
        """Raises: Unavailable with Triton's reason; Unsupported where there is no Triton to start.

        Its log stays in the folder.
        """
        find_installation(self._binary)
        config = self._config(folder)
        supervisor = Supervisor(config, self._clock)
        supervisor.start()
        try:
            scratch = LocalScratchTriton(supervisor, config.repository)
            await scratch.ready()
            yield scratch
        finally:
            closing = asyncio.create_task(_close(supervisor, config))
            try:
                await asyncio.shield(closing)
            finally:
                await asyncio.wait([closing])  # interrupted once more, it is finished all the same

    def sweep(self) -> None:
        """End what servers of an earlier product left behind; call it before the first one is opened."""
        family = shared_memory.scratch_prefix(self._state_dir)
        if shared_memory.segments(family):
            left = process_record.kill_all(process_record.users(family))
            shared_memory.clean(family)
            log.warning("removed what a scratch Triton left behind", extra={"pids": left})

    def _config(self, folder: Path) -> TritonConfig:
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        return TritonConfig(
            folder,
            self._binary,
            backoff_max_s=BACKOFF_S,
            segments=f"{shared_memory.scratch_prefix(self._state_dir)}{digest}_",
            dies_first=True,
        )


class LocalScratchTriton:
    """Satisfies `ports.ScratchTriton`."""

    def __init__(self, supervisor: Supervisor, repository: Path) -> None:
        self._supervisor, self._repository = supervisor, repository

    @property
    def repository(self) -> Path:
        return self._repository

    @property
    def triton(self) -> TritonStub:
        return self._supervisor.triton

    @property
    def control(self) -> Control:
        return self._supervisor.control

    @property
    def address(self) -> str:
        """Raises Unavailable while it is down."""
        address = self._supervisor.address
        if address is None or not self._serves(self._supervisor.status()):
            raise Unavailable("the scratch Triton does not serve just now")
        return address

    @property
    def deaths(self) -> int:
        """The one that is just being buried counts: whoever was asking it knows already."""
        pid = self._supervisor.pid
        return self._supervisor.status().restarts + (pid is not None and not is_alive(pid))

    async def ready(self) -> None:
        """Raises Unavailable with the reason why it does not start."""
        starts_max = self.deaths + STARTS_MAX
        try:
            status = await self._supervisor.wait_until(
                lambda status: self._serves(status) or status.restarts >= starts_max, READY_S
            )
        except TimedOut as error:
            raise Unavailable(f"the scratch Triton did not start: {error.message}") from error
        if not self._serves(status):
            raise Unavailable(f"the scratch Triton cannot be started: {status.reason}")

    def pss_bytes(self, directory: str) -> int | None:
        pid = self._supervisor.pid
        return None if pid is None else pss_bytes(pid, directory)

    def _serves(self, status: TritonStatus) -> bool:
        pid = self._supervisor.pid
        return status.state is TritonState.READY and pid is not None and is_alive(pid)


async def _close(supervisor: Supervisor, config: TritonConfig) -> None:
    await supervisor.kill()  # whoever leaves waits for no answer of it
    for folder in (config.repository, config.backends, config.environments):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
