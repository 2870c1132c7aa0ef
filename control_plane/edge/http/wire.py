"""One system call per answer: uvicorn writes head and body apart, and each write is a send() and a TCP segment."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from control_plane.domain.errors import DomainError, InvalidRequest, PayloadTooLarge
from control_plane.edge.http.arrivals import request_id_of
from control_plane.edge.http.failures import failure
from control_plane.edge.http.lean import API_VERSION

# Far above what browsers and proxies send; the parser itself would collect a head without end.
HEAD_BYTES_MAX = 64 * 1024
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
        self._reads_head, self._head_bytes = False, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, Corked(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._reads_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                message = f"the head of the request is over {HEAD_BYTES_MAX} bytes"
                self._refuse(PayloadTooLarge(message, limit_bytes=HEAD_BYTES_MAX))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reads_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._reads_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers to what its parser cannot read, in the words of any other refusal."""
        self._refuse(InvalidRequest("this is no HTTP request that can be read", reason="http"))

    def _refuse(self, error: DomainError) -> None:
        request_id = request_id_of({})
        reply = failure(error, "/", request_id)
        headers = [
            (b"content-type", reply.media_type),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", request_id.encode()),
            (b"x-api-version", API_VERSION),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 %d %s" % (reply.status, HTTPStatus(reply.status).phrase.encode())]
        lines += [b"%s: %s" % pair for pair in headers]
        self.transport.write(b"\r\n".join([*lines, b"", reply.body]))
        self.transport.close()
