"""WebSockets on the wire: uvicorn's protocol without its access log, and an end to who does not read."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

FRAME_BYTES_MAX = 1024 * 1024  # contract 2.4; also of a message in several frames
PING_S = 20.0
CLOSING_S = 2.0  # how long a peer may take to read what was sent before the close, and to close too


class SocketWire(WebSocketsSansIOProtocol):
    """A close goes out at once, also to a peer who has stopped reading; and CLOSING_S later the connection is gone.

    As uvicorn has it, a close waits until the peer reads, and what is closed is kept until all is read.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # It would print query strings, where tokens stand, and frames; what goes wrong behind it is logged by the door.
        self.logger = logging.getLogger("uvicorn.error.sockets")
        self.logger.setLevel(logging.CRITICAL)
        self.conn.logger, self.conn.debug = self.logger, False
        self._ending: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # A head that the parser refuses, of too many fields say: as uvicorn has it, the answer is never sent.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._end_soon()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._ending = None
        super().connection_lost(exc)

    def _end_soon(self) -> None:
        if not self.disconnected and self._ending is None:
            self._ending = self.loop.call_later(CLOSING_S, self.transport.abort)
