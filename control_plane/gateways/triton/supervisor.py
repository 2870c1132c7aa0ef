"""A Triton that is ours: started, tested, watched, brought back after a crash, drained and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from tritonclient.grpc import service_pb2 as pb

from control_plane.domain.errors import DomainError, EngineFailed, TimedOut, Unavailable
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.gateways.triton.board import Predicate, StateBoard
from control_plane.gateways.triton.channel import Channel
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.control import Control
from control_plane.gateways.triton.deaths import DeathWatch
from control_plane.gateways.triton.executors import is_alive
from control_plane.gateways.triton.failures import crashed
from control_plane.gateways.triton.launching import launch
from control_plane.gateways.triton.leftovers import clean_up
from control_plane.gateways.triton.loads import LoadLedger
from control_plane.gateways.triton.metrics import fetch_metrics
from control_plane.gateways.triton.selftest import selftest
from control_plane.gateways.triton.server_process import Ports, ServerProcess
from control_plane.gateways.triton.stub import TritonStub
from control_plane.ports import Clock

log = logging.getLogger(__name__)
StartedHook = Callable[[frozenset[str]], Awaitable[None]]

BACKOFF_S = 0.2
STEADY_AFTER_S = 60
EXIT_MARGIN_S = 2
MANAGED = "managed"


async def _nothing_to_load(quarantined: frozenset[str]) -> None:
    """The hook of a server without models."""


class Supervisor:
    """Satisfies `ports.TritonServer`; `triton` and `control` are the two ports that lead into the server.

    Set before `start`: `on_started` runs in LOADING, in every life, with the directories that may not be loaded;
    `on_model_died` when a process that executes a model directory has died on its own.
    Start and use it on the main thread's event loop: the kernel ends the server with the thread that started it.
    """

    def __init__(self, config: TritonConfig, clock: Clock, on_started: StartedHook = _nothing_to_load) -> None:
        self.on_started = on_started
        self._config = config
        self._channel = Channel()
        self._board = StateBoard(MANAGED, clock, self._channel)
        self._ledger = LoadLedger()
        self.on_model_died: Callable[[str], None] = lambda directory: None
        self._deaths = DeathWatch(self._report_death)
        self.triton = TritonStub(self._channel, config.stream_idle_timeout_s)
        self.control = Control(self._channel, lambda: self.pid, self._ledger, deaths=self._deaths)
        self._server: ServerProcess | None = None
        self._ports: Ports | None = None
        self._lives: asyncio.Task[None] | None = None
        self._is_closing = False
        self._replaced_because: str | None = None
        self._dead_model: str | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        return None if self._server is None else self._server.pid

    @property
    def address(self) -> str | None:
        """Where this life answers gRPC; for benchmarks beside us, never for clients."""
        return None if self._ports is None else self._ports.address

    @property
    def quarantined(self) -> frozenset[str]:
        return self._ledger.quarantined

    def status(self) -> TritonStatus:
        return self._board.status

    async def metrics(self) -> str | None:
        """Triton's Prometheus text; None while it does not answer."""
        return None if self._ports is None else await fetch_metrics(self._ports.metrics)

    async def wait_until(self, predicate: Predicate, timeout_s: float) -> TritonStatus:
        return await self._board.wait_until(predicate, timeout_s)

    def start(self) -> None:
        """Begin in the background; `wait_until` tells how far it is."""
        self._lives = asyncio.create_task(self._live_on(), name="triton")
        self._lives.add_done_callback(self._report_bug)

    async def replace(self, reason: str) -> None:
        """Returns when the old server is gone; the next one starts by itself after a back-off."""
        if self._server is not None and not self._is_closing:
            self._replaced_because = reason
            await self._server.kill()

    def degrade(self, reason: str | None) -> None:
        self._dead_model = reason
        if self._board.status.state in (TritonState.READY, TritonState.DEGRADED):
            self._serve_as_is()

    async def close(self) -> None:
        """Out of rotation, let what is in flight finish, then end the process; nothing of it is left."""
        self._is_closing = True
        if self._board.status.state.serves:
            self._board.enter(TritonState.DRAINING)
            if not await self._channel.drained(self._config.drain_timeout_s):
                log.warning("triton stops with requests in flight", extra={"in_flight": self._channel.in_flight})
        await self._end(lambda server: server.stop(self._config.exit_timeout_s + EXIT_MARGIN_S))

    async def kill(self) -> None:
        """As `close`, but at once: what is in flight fails. Asked to end, even an idle Triton takes up to 3 seconds."""
        self._is_closing = True
        await self._end(ServerProcess.kill)

    async def _end(self, stop: Callable[[ServerProcess], Awaitable[None]]) -> None:
        if self._server is not None:
            self._board.enter(TritonState.STOPPING)
            self._deaths.end_all()
            await stop(self._server)
        await self._end_lives()
        await self._channel.close()
        self._board.enter(TritonState.STOPPED)

    async def _end_lives(self) -> None:
        if self._lives is not None:
            if self._server is None:  # nothing to bury: it prepares, or waits out a back-off
                self._lives.cancel()
            await asyncio.wait([self._lives])

    async def _live_on(self) -> None:
        crashes = 0
        loop = asyncio.get_running_loop()
        while not self._is_closing:
            born_at_s = loop.time()
            try:
                reason = await self._one_life()
            except Exception:  # a fault of ours must not leave the server without a Triton for ever
                log.exception("the supervisor failed; Triton is started again")
                reason = "the supervisor failed; see the log"
            if self._is_closing:
                return
            self._ledger.server_died(loop.time())
            crashes = 0 if loop.time() - born_at_s > STEADY_AFTER_S else crashes
            self._board.enter(TritonState.CRASHED, reason, has_ended=True)
            await asyncio.sleep(min(BACKOFF_S * 2**crashes, self._config.backoff_max_s))
            crashes += 1

    async def _one_life(self) -> str:
        """From PREPARE to the end of the process; gives the reason of the end."""
        self._board.enter(TritonState.PREPARE)
        self._replaced_because = self._dead_model = None
        try:
            server = self._server = await launch(self._config)
        except DomainError as error:
            return error.message
        except OSError as error:  # a full disk or a lost permission: it may be put right while we try again
            return f"cannot prepare the state directory: {error.strerror}"
        self._ports = server.ports
        ended = asyncio.create_task(server.process.wait())
        work = asyncio.create_task(self._work(server))
        try:
            await asyncio.wait((ended, work), return_when=asyncio.FIRST_COMPLETED)
            return self._replaced_because or await _end_of(server, ended, work)
        finally:
            await self._bury(server, ended, work)

    async def _work(self, server: ServerProcess) -> None:
        """All that is done with a running server; ends by an error, or when the watch has ended the server."""
        self._board.enter(TritonState.STARTING)
        assert self._ports is not None
        self._channel.connect(self._ports.address)
        await self._greet(server)
        watch = asyncio.create_task(self._watch())
        try:
            self._board.enter(TritonState.SELFTEST)
            await selftest(self._config, self.control, self._channel, server.environment)
            await self._load_desired()
            await watch
        finally:
            watch.cancel()

    async def _load_desired(self) -> None:
        self._board.enter(TritonState.LOADING)
        try:
            await self.on_started(self._ledger.quarantined)
        except DomainError as error:
            self._dead_model = f"not every model was loaded: {error.message}"
        if not self._is_closing:
            self._serve_as_is()

    async def _greet(self, server: ServerProcess) -> None:
        """Wait until our own process answers; a stranger on the port would answer too."""
        reply = await self._channel.ask(
            "ServerMetadata", pb.ServerMetadataRequest(), self._config.start_timeout_s, waits=True
        )
        if reply.name != server.name:
            raise EngineFailed(f"port {self._config.grpc_port} is answered by another server")
        self._board.identify(reply.version, MANAGED)

    async def _watch(self) -> None:
        # Triton reports nothing by itself, and a frozen server keeps its port: it has to be asked.
        misses = 0
        while misses < self._config.liveness_misses:
            await asyncio.sleep(self._config.liveness_interval_s)
            try:
                await self._channel.ask(
                    "ServerLive", pb.ServerLiveRequest(), self._config.liveness_timeout_s, waits=True
                )
                misses = 0
                if not self._channel.in_flight and (stuck := await self.control.stuck()) is not None:
                    await self.replace(f"the load of {stuck} hangs")
            except (TimedOut, Unavailable):
                misses += 1
        await self.replace(f"Triton did not answer {misses} questions in a row")

    async def _bury(self, server: ServerProcess, *tasks: asyncio.Task[Any]) -> None:
        self._channel.close_gate("Triton is restarting")
        self._deaths.end_all()
        await server.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server = None
        self.control.server_ended()
        clean_up(self._config)

    def _serve_as_is(self) -> None:
        if self._dead_model is None:
            self._board.enter(TritonState.READY)
        else:
            self._board.enter(TritonState.DEGRADED, self._dead_model)

    def _report_death(self, directory: str) -> None:
        if self.pid is None or self._replaced_because or not is_alive(self.pid):
            return  # its server has died, which is told by other means
        self.triton.abandon(directory, crashed(directory))
        if not self.control.is_unloading(directory):
            log.warning("the process of a model died", extra={"directory": directory})
            self.on_model_died(directory)

    def _report_bug(self, lives: asyncio.Task[None]) -> None:
        if not lives.cancelled() and (error := lives.exception()) is not None:
            log.critical("the supervisor of Triton failed", exc_info=error)
            self._board.enter(TritonState.STOPPED, "the supervisor failed; see the log")


async def _end_of(server: ServerProcess, ended: asyncio.Task[int], work: asyncio.Task[None]) -> str:
    """Why a life is over: the process ended, or our work with it failed."""
    if work.done() and (error := work.exception()) is not None and not isinstance(error, DomainError):
        raise error
    if not ended.done():
        with contextlib.suppress(TimeoutError):  # an error on the wire is often the first sign of the end
            async with asyncio.timeout(0.5):
                await asyncio.shield(ended)
    if ended.done():
        return server.epitaph(ended.result())
    error = work.exception()  # none where the watch gave up a server that was being stopped anyhow
    return error.message if isinstance(error, DomainError) else "Triton was being stopped"
