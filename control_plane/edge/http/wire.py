"""One system call per answer: uvicorn writes head and body apart, and each write is a send() and a TCP segment."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# A burst larger than this goes out at once: only the real transport knows when a slow reader must hold it back.
HELD_BYTES_MAX = 64 * 1024


class Corked:
    """A transport that sends in one piece what one turn of the event loop wrote."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pending: list[bytes] = []
        self._held_bytes = 0

    def write(self, chunk: bytes) -> None:
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes > HELD_BYTES_MAX:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pending:
            whole, self._pending, self._held_bytes = b"".join(self._pending), [], 0
            self._transport.write(whole)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class OneWrite(HttpToolsProtocol):
    """uvicorn's protocol on a corked transport; flow control still goes by the real one."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Its access log costs more than a request does, and prints tokens that stand in query strings; the protocol
        # writes it as soon as anybody's logging configuration gives its logger a handler.
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Corked(transport, self.loop)))
