"""What every comfortable request owes: an id, a size, a credential; and what every answer to one carries."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.domain.errors import DomainError, NotPermitted
from control_plane.domain.limits import LimitClass
from control_plane.edge.http.arrivals import check_declared_size, request_id_of, too_large
from control_plane.edge.http.compression import compressed, wants_gzip
from control_plane.edge.http.door import Door
from control_plane.edge.http.envelopes import owner_of
from control_plane.edge.http.failures import failure
from control_plane.edge.http.lean import API_VERSION
from control_plane.edge.http.replies import Headers, Reply, quota_headers
from control_plane.edge.quotas import Visit
from control_plane.edge.refusals import fault, stopping
from control_plane.edge.tallies import Tallies
from control_plane.services.audit import Actor, Audit, act

_READS = ("GET", "HEAD", "OPTIONS")
_NO_ROUTE = "unmatched"  # the route label of what no route answers


@dataclass(frozen=True, slots=True)
class Rules:
    """`public` are whole paths; `uploads` are the paths that may carry a model.

    `limits`: what a method of a template counts as, where that is not the default class.
    `pages`: by path, the one that answers who asks for HTML there.
    """

    public: frozenset[str]
    uploads: Sequence[re.Pattern[str]]
    max_body_bytes: int
    max_upload_bytes: int
    debug: bool
    limits: Mapping[tuple[str, str], LimitClass] = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)

    def limit_bytes(self, path: str) -> int:
        is_upload = any(pattern.fullmatch(path) for pattern in self.uploads)
        return self.max_upload_bytes if is_upload else self.max_body_bytes


class Duties:
    """ASGI middleware around FastAPI."""

    def __init__(self, app: ASGIApp, door: Door, tallies: Tallies, rules: Rules, audit: Audit) -> None:
        self._app, self._door, self._tallies, self._rules, self._audit = app, door, tallies, rules, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        visit = scope["state"]["visit"] = Visit(self._door.quotas)
        outgoing = _Outgoing(send, request_id, headers, partial(self._quota_headers, scope, visit))
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
            await outgoing.fail(fault(error, request_id, debug=self._rules.debug), scope["path"])
        finally:
            visit.leave()
        self._count(scope, outgoing.status)

    async def _pass(self, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, outgoing: _Outgoing) -> None:
        if scope["path"] in self._rules.pages and _wants_html(scope["method"], headers):
            scope["path"] = self._rules.pages[scope["path"]]
        path, reads = scope["path"], scope["method"] in _READS
        limit_bytes = self._rules.limit_bytes(path)
        check_declared_size(headers, limit_bytes)
        if path not in self._rules.public:
            query = scope["query_string"] if reads else b""
            principal = await self._door.admit(headers, query, scope["client"])
            scope["state"]["principal"] = scope["state"]["visit"].principal = principal
            if not reads:
                scope["state"]["actor"] = act(_actor(scope))
                self._door.check_open()
        await self._app(scope, _counted(receive, limit_bytes), outgoing.send)

    def _quota_headers(self, scope: Scope, visit: Visit) -> Headers:
        """Also of a request that was refused before it was charged."""
        return quota_headers(
            visit.left(self._rules.limits.get((scope["method"], _template(scope)), LimitClass.DEFAULT))
        )

    def _count(self, scope: Scope, status: int) -> None:
        self._tallies.of(owner_of(scope["path"]).dialect, _template(scope), scope["method"]).count(status)
        actor = scope["state"].get("actor")
        if actor is not None and status == HTTPStatus.FORBIDDEN:
            self._audit.refuse(actor, NotPermitted.code)


def _actor(scope: Scope) -> Actor:
    state = scope["state"]
    return Actor(state["principal"], state["request_id"], "http", f"{scope['method']} {scope['path']}")


def _wants_html(method: str, headers: Mapping[bytes, bytes]) -> bool:
    return method == "GET" and b"text/html" in headers.get(b"accept", b"")


def _template(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", _NO_ROUTE)


class _Outgoing:
    """Adds our headers to the answer, and compresses a JSON body that comes in one piece."""

    def __init__(
        self, send: Send, request_id: str, headers: Mapping[bytes, bytes], more_headers: Callable[[], Headers]
    ) -> None:
        self._send, self._request_id, self._more_headers = send, request_id, more_headers
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
        headers = [(b"x-request-id", self._request_id.encode()), (b"x-api-version", API_VERSION), *self._more_headers()]
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
