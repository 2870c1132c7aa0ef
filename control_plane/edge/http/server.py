"""uvicorn as a part of a server that owns its signals and stops in its own order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from control_plane.edge.http.sockets.wire import FRAME_BYTES_MAX, PING_S, SocketWire
from control_plane.edge.http.wire import OneWrite
from control_plane.edge.tls import Tls

BACKLOG = 4096
FAREWELL_S = 2.0  # how long requests that are cut short have to say so
_CLOSING_S = 2  # how long idle connections have to close


def listen(host: str, ports: Sequence[int]) -> list[socket.socket]:
    """A listening socket for each port; port 0 takes a free one. Raises OSError naming what is taken."""
    sockets: list[socket.socket] = []
    try:
        for port in ports:
            sockets.append(_listening(host, port))
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


class HttpServer(uvicorn.Server):
    """Serves until `stop`; leaves signals to whoever runs it.

    uvicorn raises a caught signal again when it has stopped, and the rest of the process would never stop cleanly.
    """

    def __init__(self, app: ASGIApp, tls: Tls | None = None) -> None:
        context = None if tls is None else tls.context
        config = uvicorn.Config(
            app,
            http=OneWrite,
            ws=SocketWire,
            ws_max_size=FRAME_BYTES_MAX,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,  # 100 KiB a connection, and a quarter of the speed
            lifespan="off",
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_CLOSING_S,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def stop(self, drain_s: float) -> None:
        """Wait for requests in flight, then end `serve`. What still runs after `drain_s` is told so and ended.

        New connections are taken until then, so that who asks is refused in words; refusing is the health service's.
        """
        deadline = asyncio.get_running_loop().time() + drain_s
        while running := self._running():
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.wait(running, timeout=left_s)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        running = self._running()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=FAREWELL_S)
        await super().shutdown(sockets)

    def _running(self) -> set[asyncio.Task[Any]]:
        return {task for task in self.server_state.tasks if not task.done()}


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)  # a port that is merely bound can still be bound by another server
    except OSError as error:
        opened.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    opened.setblocking(False)
    return opened
