"""A WebSocket client as cheap as can be: it sends one message, and looks at the length of what comes back."""

from __future__ import annotations

import asyncio
import time
from typing import cast
from urllib.parse import urlsplit

PING = b'{"type":"ping"}'
# A text frame with a mask of zeros, which changes nothing. Source: RFC 6455, section 5.2.
FRAME = bytes([0x81, 0x80 | len(PING)]) + bytes(4) + PING
PROTOCOL_PING, PONG = 0x89, bytes([0x8A, 0x80 | 4]) + bytes(4)
AT_ONCE = 50  # handshakes


class Connection(asyncio.Protocol):
    """One WebSocket. `is_lost`: the server closed it."""

    def __init__(self, head: bytes) -> None:
        self._head, self._received = head, bytearray()
        self._opened = asyncio.get_running_loop().create_future()
        self._answered: asyncio.Future[None] | None = None
        self.is_lost = self._is_closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._opened.done():
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            status = bytes(self._received[:12])
            del self._received[: end + 4]
            self._opened.set_result(status.endswith(b"101"))
        while len(self._received) >= 2 and len(self._received) >= (whole := 2 + self._received[1]):
            self._take(bytes(self._received[:whole]))
            del self._received[:whole]

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = not self._is_closing
        for waiting in (self._opened, self._answered):
            if waiting is not None and not waiting.done():
                waiting.set_exception(ConnectionResetError("the server closed a connection"))

    async def opened(self) -> None:
        if not await self._opened:
            raise SystemExit("the server refuses a connection")

    async def ping(self) -> float:
        """Seconds until the answer."""
        self._answered = asyncio.get_running_loop().create_future()
        started_s = time.perf_counter()
        self._transport.write(FRAME)
        await self._answered
        return time.perf_counter() - started_s

    def close(self) -> None:
        self._is_closing = True
        self._transport.abort()

    def _take(self, frame: bytes) -> None:
        if frame[0] == PROTOCOL_PING:
            self._transport.write(PONG + frame[2:])
        elif self._answered is not None and not self._answered.done():
            self._answered.set_result(None)


async def open_connections(url: str, key: str, count: int) -> list[Connection]:
    """To `/ws` of the server at `url`."""
    where = urlsplit(url)
    lines = ["GET /ws HTTP/1.1", f"Host: {where.netloc}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", f"X-API-Key: {key}"]
    head = "\r\n".join([*lines, "", ""]).encode()
    loop, connections = asyncio.get_running_loop(), list[Connection]()
    for start in range(0, count, AT_ONCE):
        some = range(min(AT_ONCE, count - start))
        made = [loop.create_connection(lambda: Connection(head), where.hostname, where.port) for _ in some]
        batch = [connection for _, connection in await asyncio.gather(*made)]
        await asyncio.gather(*(connection.opened() for connection in batch))
        connections += batch
    return connections
