"""The lean path: a plain ASGI front for the inference routes, where every microsecond counts; the rest falls through.

Order: declared size, credential, (body) parse, role, quota, answer; around it request id, errors, leaving callers,
counts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError
from control_plane.domain.limits import LimitClass
from control_plane.edge.http.arrivals import broken_off, check_declared_size, request_id_of, too_large
from control_plane.edge.http.compression import compressed, wants_gzip
from control_plane.edge.http.door import Door
from control_plane.edge.http.envelopes import owner_of
from control_plane.edge.http.failures import failure
from control_plane.edge.http.presence import Presence, Task
from control_plane.edge.http.replies import Headers, Reply, Stream, quota_headers
from control_plane.edge.quotas import Visit
from control_plane.edge.refusals import fault, stopping
from control_plane.edge.tallies import Tallies, Tally

API_VERSION = b"1.0.0"
_KNOWN_PATHS_MAX, _KNOWN_PATH_LENGTH_MAX = 4096, 256  # anybody may ask for any path, of 64 KiB if he likes
_CALLER_LEFT = 499  # nginx's word for it; it only ever shows in the counts
Wanted = TypeVar("Wanted")


@dataclass(slots=True)
class Call:
    """What a lean route gets: nothing of ASGI. `params` are the template's, in order."""

    params: tuple[str, ...]
    headers: Mapping[bytes, bytes]
    body: bytes
    id: str
    principal: Principal


@dataclass(frozen=True, slots=True)
class Operation:
    """A lean route's OpenAPI entry: msgspec structs for bodies, None where JSON is not the body.

    `or_else`: other bodies that a good answer may have. `refuses`: the statuses beyond what every route of its kind
    answers. `patterns`: of path parameters.
    """

    id: str
    summary: str
    tag: str
    request: type[Any]
    response: type[Any] | None
    or_else: tuple[type[Any], ...] = ()
    description: str = ""
    stream_media_types: tuple[str, ...] = ()
    refuses: tuple[int, ...] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeanRoute(Generic[Wanted]):
    """`template` has `{name}` for a path parameter. `parse` raises InvalidRequest; `answer` does the work.

    `token_in_query`: a client that cannot set headers may say `?token=`. `limit`: the quota that a request counts in.
    """

    template: str
    role: Role
    parse: Callable[[Call], Wanted]
    answer: Callable[[Wanted, Call], Awaitable[Reply | Stream]]
    operation: Operation
    method: str = "POST"
    token_in_query: bool = False
    limit: LimitClass = LimitClass.INFERENCE


_Match = tuple[LeanRoute[Any], tuple[str, ...], Tally]


@dataclass(frozen=True, slots=True)
class Limits:
    max_body_bytes: int
    debug: bool = False


class LeanRoutes:
    """Made inside the event loop that serves. `otherwise` answers every path that no lean route has."""

    def __init__(
        self, routes: Sequence[LeanRoute[Any]], door: Door, tallies: Tallies, limits: Limits, otherwise: ASGIApp
    ) -> None:
        self._routes = [(route, pattern_of(route.template), _tally(tallies, route)) for route in routes]
        self._door, self._limits, self._otherwise = door, limits, otherwise
        self._loop = asyncio.get_running_loop()  # on Python 3.11 each get_running_loop() is a getpid() system call
        self._presence = Presence(self._loop)
        self._known: dict[str, _Match | None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            found = self._known[path] if path in self._known else self._find(path)
            if found is not None and found[0].method == scope["method"]:
                await self._serve(found, scope, receive, send)
                return
        await self._otherwise(scope, receive, send)

    def _find(self, path: str) -> _Match | None:
        found = None
        for route, pattern, tally in self._routes:
            if match := pattern.fullmatch(path):
                found = route, match.groups(), tally
        if len(self._known) < _KNOWN_PATHS_MAX and len(path) <= _KNOWN_PATH_LENGTH_MAX:
            self._known[path] = found
        return found

    async def _serve(self, found: _Match, scope: Scope, receive: Receive, send: Send) -> None:
        route, _, tally = found
        headers, visit = dict(scope["headers"]), Visit(self._door.quotas)
        request_id = request_id_of(headers)
        task = asyncio.current_task(self._loop)
        assert task is not None
        try:
            answer = await self._answer(found, visit, headers, request_id, scope, receive, task)
            if isinstance(answer, Stream):
                await self._send_stream(answer, request_id, quota_headers(visit.left(route.limit)), send, task)
                tally.count(200)
                return
        except _CallerLeft:
            tally.count(_CALLER_LEFT)
            return
        except DomainError as error:
            answer = failure(error, scope["path"], request_id)
        finally:
            self._presence.leave(task)
            visit.leave()
        await _send_reply(answer, request_id, headers, quota_headers(visit.left(route.limit)), send)
        tally.count(answer.status)

    async def _answer(
        self,
        found: _Match,
        visit: Visit,
        headers: dict[bytes, bytes],
        request_id: str,
        scope: Scope,
        receive: Receive,
        task: Task,
    ) -> Reply | Stream:
        """Raises only domain errors, and _CallerLeft."""
        route, params, _ = found
        try:
            check_declared_size(headers, self._limits.max_body_bytes)
            query = scope["query_string"] if route.token_in_query else b""
            principal = visit.principal = await self._door.admit(headers, query, scope["client"])
            scope.setdefault("state", {})["principal"] = principal
            self._door.check_open()
            call = Call(params, headers, await _read(receive, self._limits.max_body_bytes), request_id, principal)
            self._presence.enter(task, receive)
            wanted = route.parse(call)
            principal.require(route.role)
            visit.enter(route.limit)
            return await route.answer(wanted, call)
        except DomainError as error:
            visit.forgive(error)
            raise
        except asyncio.CancelledError:
            raise self._cancelled(task) from None
        except Exception as error:
            raise fault(error, request_id, debug=self._limits.debug) from error

    async def _send_stream(self, stream: Stream, request_id: str, more: Headers, send: Send, task: Task) -> None:
        tail = b""
        try:
            await send(_start(200, stream.media_type, request_id, [(b"cache-control", b"no-cache"), *more]))
            async for item in stream.items:
                await send({"type": "http.response.body", "body": stream.render(item), "more_body": True})
        except DomainError as error:
            tail = stream.failed(error)
        except asyncio.CancelledError:
            tail = stream.failed(self._cancelled(task))
        except Exception as error:  # too late for a status: the last of the stream tells of it
            tail = stream.failed(fault(error, request_id, debug=self._limits.debug))
        finally:
            await stream.items.aclose()
        self._presence.leave(task)
        await send({"type": "http.response.body", "body": tail + stream.end})

    def _cancelled(self, task: Task) -> DomainError:
        """Why a request was cancelled, if not by its caller: only a server that stops cancels requests."""
        if self._presence.caller_left(task):
            raise _CallerLeft from None
        task.uncancel()
        return stopping()


class _CallerLeft(Exception):
    """Nobody is there to be answered."""


def pattern_of(template: str) -> re.Pattern[str]:
    literals = re.split(r"\{[^}]+\}", template)
    return re.compile("([^/]+)".join(map(re.escape, literals)))


def _tally(tallies: Tallies, route: LeanRoute[Any]) -> Tally:
    return tallies.of(owner_of(route.template).dialect, route.template, route.method)


async def _read(receive: Receive, limit_bytes: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    chunks, size_bytes = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise broken_off()
        chunks.append(message.get("body", b""))
        size_bytes += len(chunks[-1])
        if size_bytes > limit_bytes:
            raise too_large(limit_bytes)
    return b"".join(chunks)


async def _send_reply(
    reply: Reply, request_id: str, headers: Mapping[bytes, bytes], quota: Headers, send: Send
) -> None:
    body, more = reply.body, [*reply.headers, *quota]
    if wants_gzip(headers.get(b"accept-encoding", b""), reply.media_type, len(body)):
        body = await compressed(body)
        more += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    more.append((b"content-length", b"%d" % len(body)))
    await send(_start(reply.status, reply.media_type, request_id, more))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, media_type: bytes, request_id: str, more: Headers) -> Message:
    headers = [
        (b"content-type", media_type),
        (b"x-request-id", request_id.encode()),
        (b"x-api-version", API_VERSION),
        *more,
    ]
    return {"type": "http.response.start", "status": status, "headers": headers}
