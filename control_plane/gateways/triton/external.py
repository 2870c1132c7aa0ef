"""A Triton that is somebody else's: watched, used, and told what to load only where it reads our repository."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tritonclient.grpc import service_pb2 as pb

from control_plane.domain.errors import DomainError, TimedOut, Unavailable, Unsupported
from control_plane.domain.triton import READ_ONLY, TritonState, TritonStatus
from control_plane.gateways.triton.board import Predicate, StateBoard
from control_plane.gateways.triton.channel import Channel
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.control import Control
from control_plane.gateways.triton.selftest import PROBE, install_probe
from control_plane.gateways.triton.stub import TritonStub
from control_plane.ports import Clock

log = logging.getLogger(__name__)
SHARED = "shared"
MARKER = "tritonplane-shared-"
INTERVAL_S = 1.0
LIVENESS_TIMEOUT_S = 5.0
# Triton's own words in poll mode and in mode "none".
_NOT_EXPLICIT = "explicit model load / unload is not allowed"
_REFUSAL = (
    "this Triton does not read our model repository, so it cannot be told what to load; mount the state directory's "
    "'repository' folder as its --model-repository and start it with --model-control-mode=explicit"
)


class ExternalTriton:
    """Satisfies `ports.TritonServer`; `triton` and `control` as on the supervisor.

    Whether it reads our repository shows when it lists what only ours has (`mark_repository`), and takes load orders.
    Raises: Unsupported for anything but one endpoint.
    """

    def __init__(
        self,
        config: TritonConfig,
        endpoints: Sequence[str],
        clock: Clock,
        on_started: Callable[[frozenset[str]], Awaitable[None]] | None = None,
    ) -> None:
        if len(endpoints) != 1:
            raise Unsupported(
                f"{len(endpoints)} Triton endpoints are given; exactly one external Triton is supported",
                requires="one host:port in TRITONPLANE_TRITON_ENDPOINTS",
            )
        self.on_started = on_started
        self.endpoint = endpoints[0]
        self._config = config
        self._channel = Channel()
        self._board = StateBoard(READ_ONLY, clock, self._channel)
        self._watcher: asyncio.Task[None] | None = None
        self._marker = ""
        self.triton = TritonStub(self._channel, config.stream_idle_timeout_s)
        self.control = Control(self._channel, refusal=self._refusal)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def status(self) -> TritonStatus:
        return self._board.status

    async def wait_until(self, predicate: Predicate, timeout_s: float) -> TritonStatus:
        return await self._board.wait_until(predicate, timeout_s)

    def start(self) -> None:
        install_probe(self._config)
        self._marker = mark_repository(self._config.repository)
        self._board.enter(TritonState.STARTING)
        self._channel.connect(self.endpoint)
        self._watcher = asyncio.create_task(self._watch(), name="external triton")

    async def close(self) -> None:
        self._board.enter(TritonState.DRAINING)
        await self._channel.drained(self._config.drain_timeout_s)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        await self._channel.close()
        self._board.enter(TritonState.STOPPED)

    async def replace(self, reason: str) -> None:
        """Only its owner can restart it."""
        log.warning("an external Triton cannot be replaced", extra={"reason": reason})

    def degrade(self, reason: str | None) -> None:
        """Its state is its own; what a dead model means is shown by the model."""

    async def metrics(self) -> str | None:
        """None: where it shows them is not known."""
        return None

    async def _watch(self) -> None:
        # Triton's health service has no Watch: it has to be asked.
        while True:
            try:
                await self._channel.ask("ServerLive", pb.ServerLiveRequest(), LIVENESS_TIMEOUT_S)
                if self._board.status.state is not TritonState.READY:
                    await self._welcome()
            except DomainError as error:
                self._board.enter(TritonState.UNREACHABLE, error.message)
            except Exception:  # the end of the line, nobody awaits a watch: a fault of ours must not leave us blind
                log.exception("the watch over the external Triton failed; it goes on")
            await asyncio.sleep(INTERVAL_S)

    async def _welcome(self) -> None:
        """It answers, for the first time or again: what it is, and whether it reads our repository."""
        reply = await self._channel.ask("ServerMetadata", pb.ServerMetadataRequest())
        repository = SHARED if await self._reads_ours() else READ_ONLY
        self._board.identify(reply.version, repository)
        self._board.enter(TritonState.LOADING)
        if self.on_started is not None:
            try:
                await self.on_started(frozenset())
            except (TimedOut, Unavailable):  # it is gone again, before all of its models were known
                raise
            except DomainError as error:
                log.warning("not every model was loaded", extra={"reason": error.message})
        self._board.enter(TritonState.READY)

    async def _reads_ours(self) -> bool:
        listed = {entry.directory for entry in await self.control.index()}
        if not {PROBE, self._marker} <= listed:
            return False
        try:
            message = pb.RepositoryModelLoadRequest(model_name=PROBE)
            await self._channel.ask("RepositoryModelLoad", message, self._config.selftest_timeout_s)
        except (TimedOut, Unavailable) as error:
            if _NOT_EXPLICIT not in error.message:
                raise
            return False
        except DomainError as error:
            log.warning("the self-test model does not load", extra={"reason": error.message})
        return True

    def _refusal(self) -> str | None:
        return None if self._board.status.repository == SHARED else _REFUSAL


def mark_repository(repository: Path) -> str:
    """The name of an empty directory that no other repository has; made once, and listed by whoever reads ours.

    The self-test model will not do: the Triton of any other control plane has that too.
    """
    for marker in repository.glob(f"{MARKER}*"):
        return marker.name
    marker = repository / f"{MARKER}{secrets.token_hex(6)}"
    marker.mkdir()
    return marker.name
