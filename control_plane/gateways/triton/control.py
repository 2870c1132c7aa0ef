"""The slow half of Triton: load and unload with deadlines, and what it says of its model directories."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from psutil import Process
from tritonclient.grpc import service_pb2 as pb

from control_plane.domain.errors import (
    DomainError,
    EngineCrashed,
    EngineFailed,
    InvalidRequest,
    ModelNotReady,
    TimedOut,
    Unavailable,
    Unsupported,
)
from control_plane.domain.models import Signature
from control_plane.domain.triton import IndexEntry, Statistics
from control_plane.gateways.triton import codec
from control_plane.gateways.triton.channel import QUESTION_TIMEOUT_S, Channel
from control_plane.gateways.triton.deaths import DeathWatch
from control_plane.gateways.triton.executors import lives, resident_bytes
from control_plane.gateways.triton.instances import Instances
from control_plane.gateways.triton.loads import LoadLedger

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
# Triton puts the name unquoted into a shell command.
_DIRECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_POLL_S = (0.05, 0.5)
_DEATH_POLL_S = 0.05
_DEATH_GRACE_S = 2.0  # in which Triton itself tells of a process that failed to begin, but not of one that was killed
# A load that was given less time may still end well; after this nobody expects it to.
PATIENCE_S = 300


class Control:
    """Satisfies `ports.TritonControl`. `server_pid` tells the process whose children execute the models."""

    def __init__(
        self,
        channel: Channel,
        server_pid: Callable[[], int | None] = lambda: None,
        ledger: LoadLedger | None = None,
        refusal: Callable[[], str | None] = lambda: None,
        deaths: DeathWatch | None = None,
    ) -> None:
        self._channel = channel
        self._server_pid = server_pid
        self._ledger = ledger or LoadLedger()
        self._refusal = refusal
        self._deaths = deaths or DeathWatch()
        self._instances = Instances(server_pid)
        self._unloading: set[str] = set()  # until they are out of Triton or loaded again
        self._stuck: dict[str, float] = {}  # loads that hang in Triton, and from when on that is certain

    async def load(self, directory: str, timeout_s: float) -> None:
        """After TimedOut the load still hangs inside Triton; only a new server ends it (see `stuck`)."""
        self._check(directory)
        self._ledger.begin(directory)
        begun_s = monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                await self._load(directory, timeout_s)
        except TimeoutError as error:
            self._stuck.setdefault(directory, begun_s + PATIENCE_S)
            raise _not_loaded_in_time(directory, timeout_s) from error
        except (TimedOut, Unavailable):
            raise
        except DomainError:
            self._ledger.answered(directory)
            raise
        self._ledger.loaded(directory)
        self._stuck.pop(directory, None)
        self._unloading.discard(directory)
        if begun := self._instances.loaded(directory):
            self._deaths.begin(directory, [process.pid for process in begun])

    async def unload(self, directory: str, timeout_s: float) -> None:
        self._check(directory)
        self._unloading.add(directory)
        try:
            async with asyncio.timeout(timeout_s):
                await self._channel.ask("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=directory))
                await self._until_unloaded(directory)
        except TimeoutError as error:
            raise TimedOut(
                f"{directory!r} is still finishing its requests after {timeout_s:g} s", timeout_s=timeout_s
            ) from error
        except DomainError:
            self._unloading.discard(directory)
            raise
        self._deaths.end(directory)
        self._instances.unloaded(directory)
        self._unloading.discard(directory)

    async def stuck(self) -> str | None:
        """A directory whose load hangs, and keeps it from being loaded or unloaded until the server is replaced."""
        certain = [directory for directory, at_s in self._stuck.items() if at_s <= monotonic()]
        ready = {entry.directory for entry in await self.index() if entry.state == READY} if certain else set()
        for directory in ready.intersection(certain):
            del self._stuck[directory]
        return next((directory for directory in certain if directory not in ready), None)

    def server_ended(self) -> None:
        """What hung in it is over, and may not hang the next one."""
        for directory in self._stuck:
            self._ledger.hung(directory)
        self._stuck.clear()
        self._unloading.clear()
        self._instances.server_ended()

    def is_unloading(self, directory: str) -> bool:
        """Whether its processes may end: an unload that took too long goes on inside Triton."""
        return directory in self._unloading

    async def index(self) -> Sequence[IndexEntry]:
        return codec.index_entries(await self._channel.ask("RepositoryIndex", pb.RepositoryIndexRequest()))

    async def signature(self, directory: str) -> Signature:
        metadata = await self._channel.ask(
            "ModelMetadata", pb.ModelMetadataRequest(name=directory), directory=directory
        )
        reply = await self._channel.ask("ModelConfig", pb.ModelConfigRequest(name=directory), directory=directory)
        return codec.signature(metadata, reply.config)

    async def statistics(self, directory: str) -> Statistics:
        try:
            reply = await self._channel.ask(
                "ModelStatistics", pb.ModelStatisticsRequest(name=directory), directory=directory
            )
        except InvalidRequest as error:
            # Triton's INVALID_ARGUMENT here means a model that is not loaded.
            raise ModelNotReady(f"{directory!r} is not loaded in Triton") from error
        return codec.statistics(reply.model_stats)

    def memory_bytes(self, directory: str) -> int | None:
        pid = self._server_pid()
        return None if pid is None else resident_bytes(pid, directory)

    def _check(self, directory: str) -> None:
        if not _DIRECTORY.fullmatch(directory):
            raise InvalidRequest(f"{directory[:200]!r} cannot name a model directory")
        reason = self._refusal()
        if reason is not None:
            raise Unsupported(reason, requires="a model repository shared with Triton")

    async def _load(self, directory: str, timeout_s: float) -> None:
        message = pb.RepositoryModelLoadRequest(model_name=directory)
        try:
            # The caller's timeout comes first and cancels the call; gRPC's own is only a second net.
            limit_s = timeout_s + QUESTION_TIMEOUT_S
            load = self._channel.ask("RepositoryModelLoad", message, limit_s, directory=directory)
            await self._unless_it_dies(directory, load)
        except (TimedOut, Unavailable, Unsupported, EngineFailed):
            raise
        except DomainError as error:
            # A model that cannot be loaded is a bad model, not a bad request, whatever code Triton chose.
            raise EngineFailed(_load_reason(error.message)) from error
        await self._require_ready(directory)

    async def _unless_it_dies(self, directory: str, load: Coroutine[Any, Any, Any]) -> None:
        """Triton waits for ever for a process that is killed while it begins."""
        loading, death = asyncio.create_task(load), asyncio.create_task(self._death(directory))
        said = f"the process of {directory!r} died while it was loaded"
        try:
            await asyncio.wait({loading, death}, return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                self._stuck[directory] = monotonic()
                raise EngineFailed(said)
            await loading
        except EngineCrashed:  # sometimes Triton says so first
            raise EngineCrashed(said) from None
        finally:
            loading.cancel()
            death.cancel()

    async def _death(self, directory: str) -> None:
        seen: dict[int, Process] = {}
        while not seen or any(map(lives, seen.values())):
            await asyncio.sleep(_DEATH_POLL_S)
            seen |= {process.pid: process for process in self._instances.begun(directory)}
        await asyncio.sleep(_DEATH_GRACE_S)

    async def _require_ready(self, directory: str) -> None:
        entries = [entry for entry in await self.index() if entry.directory == directory]
        for entry in entries:
            if entry.state != READY:
                raise EngineFailed(_load_reason(entry.reason) or f"{directory!r} is {entry.state or 'not loaded'}")
        if not entries:
            raise EngineFailed(f"Triton answered the load of {directory!r}, but does not list it")

    async def _until_unloaded(self, directory: str) -> None:
        # Triton has no event for "the last request has ended", so its index is asked, ever less often.
        wait_s, longest_s = _POLL_S
        stubs = self._instances.serving(directory)
        while await self._holds(directory):
            if stubs and not any(map(lives, stubs)):
                return  # it waits for requests that died with their process, and would for ever
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 1.5, longest_s)

    async def _holds(self, directory: str) -> bool:
        entries = await self.index()
        return any(entry.directory == directory and entry.state not in ("", UNAVAILABLE) for entry in entries)


def _not_loaded_in_time(directory: str, timeout_s: float) -> TimedOut:
    return TimedOut(f"{directory!r} did not load within {timeout_s:g} s", timeout_s=timeout_s)


def _load_reason(text: str) -> str:
    """The model's own reason out of "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: ..."."""
    return re.sub(r"^load failed for model '[^']*': version \d+ is at UNAVAILABLE state: ", "", text).rstrip("; ")
