"""What every comfortable request owes: an id, a size, a credential; and what every answer to one carries."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.domain.errors import DomainError
from control_plane.edge.http.arrivals import check_declared_size, request_id_of, too_large
from control_plane.edge.http.compression import compressed, wants_gzip
from control_plane.edge.http.door import Door
from control_plane.edge.http.envelopes import owner_of
from control_plane.edge.http.failures import failure
from control_plane.edge.http.lean import API_VERSION
from control_plane.edge.http.replies import Reply
from control_plane.edge.refusals import stopping, unexpected
from control_plane.edge.tallies import Tallies

log = logging.getLogger(__name__)
_READS = ("GET", "HEAD", "OPTIONS")
_NO_ROUTE = "unmatched"  # the route label of what no route answers


@dataclass(frozen=True, slots=True)
class Rules:
    """`public` are whole paths; `uploads` are the paths that may carry a model."""

    public: frozenset[str]
    uploads: Sequence[re.Pattern[str]]
    max_body_bytes: int
    max_upload_bytes: int
    debug: bool

    def limit_bytes(self, path: str) -> int:
        is_upload = any(pattern.fullmatch(path) for pattern in self.uploads)
        return self.max_upload_bytes if is_upload else self.max_body_bytes


class Duties:
    """ASGI middleware around FastAPI."""

    def __init__(self, app: ASGIApp, door: Door, tallies: Tallies, rules: Rules) -> None:
        self._app, self._door, self._tallies, self._rules = app, door, tallies, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        outgoing = _Outgoing(send, request_id, headers)
        try:
            await self._pass(headers, scope, receive, outgoing)
        except DomainError as error:
            await outgoing.fail(error, scope["path"])
        except asyncio.CancelledError:  # only a server that stops cancels requests
            task = asyncio.current_task()
            if task is None or outgoing.status:
                raise
            task.uncancel()
            await outgoing.fail(stopping(), scope["path"])
        except Exception as error:
            log.error("unexpected failure", extra={"request_id": request_id}, exc_info=error)
            await outgoing.fail(unexpected(error, debug=self._rules.debug), scope["path"])
        self._count(scope, outgoing.status)

    async def _pass(self, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, outgoing: _Outgoing) -> None:
        path, reads = scope["path"], scope["method"] in _READS
        limit_bytes = self._rules.limit_bytes(path)
        check_declared_size(headers, limit_bytes)
        if path not in self._rules.public:
            scope["state"]["principal"] = await self._door.admit(headers, scope["query_string"] if reads else b"")
            if not reads:
                self._door.check_open()
        await self._app(scope, _counted(receive, limit_bytes), outgoing.send)

    def _count(self, scope: Scope, status: int) -> None:
        template = getattr(scope.get("route"), "path", _NO_ROUTE)
        self._tallies.of(owner_of(scope["path"]).dialect, template, scope["method"]).count(status)


class _Outgoing:
    """Adds our headers to the answer, and compresses a JSON body that comes in one piece."""

    def __init__(self, send: Send, request_id: str, headers: Mapping[bytes, bytes]) -> None:
        self._send, self._request_id = send, request_id
        self._accept_encoding = headers.get(b"accept-encoding", b"")
        self._start: Message | None = None
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self._start = message["status"], message
            return
        start, self._start = self._start, None
        if start is not None:
            message = await self._begin(start, message)
        await self._send(message)

    async def fail(self, error: DomainError, path: str) -> None:
        """Too late once an answer has begun: then the connection just ends."""
        if self.status:
            return
        reply: Reply = failure(error, path, self._request_id)
        headers = [(b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await self.send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": reply.body})

    async def _begin(self, start: Message, message: Message) -> Message:
        headers = [(b"x-request-id", self._request_id.encode()), (b"x-api-version", API_VERSION)]
        given = list(start.get("headers", ()))
        body: bytes = message.get("body", b"")
        media_type = dict(given).get(b"content-type", b"")
        if not message.get("more_body") and wants_gzip(self._accept_encoding, media_type, len(body)):
            body = await compressed(body)
            given = [pair for pair in given if pair[0] != b"content-length"]
            given += [
                (b"content-length", b"%d" % len(body)),
                (b"content-encoding", b"gzip"),
                (b"vary", b"Accept-Encoding"),
            ]
            message = {**message, "body": body}
        await self._send({**start, "headers": given + headers})
        return message


def _counted(receive: Receive, limit_bytes: int) -> Receive:
    size_bytes = 0

    async def counted() -> Message:
        nonlocal size_bytes
        message = await receive()
        size_bytes += len(message.get("body", b""))
        if size_bytes > limit_bytes:
            raise too_large(limit_bytes)
        return message

    return counted
