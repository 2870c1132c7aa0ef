"""Who may open a WebSocket: refused in the words of the API that owns the path, with a status (C-AUTH-08)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from control_plane.domain.errors import DomainError, NotAuthenticated, NotFound, NotPermitted
from control_plane.edge.http.arrivals import request_id_of
from control_plane.edge.http.door import Door
from control_plane.edge.http.envelopes import owner_of
from control_plane.edge.http.failures import failure
from control_plane.edge.http.lean import API_VERSION, pattern_of
from control_plane.edge.http.routing import DeclaredSocket
from control_plane.edge.http.sockets.entry import FAULT, GOING_AWAY, Entry, close_socket
from control_plane.edge.http.sockets.opened import OpenSockets
from control_plane.edge.refusals import faults_told, stopping
from control_plane.edge.tallies import Tallies

_BEARER = "bearer."
_METHOD, _NO_ROUTE = "WEBSOCKET", "unmatched"
_ACCEPTED = 101


@dataclass(frozen=True, slots=True)
class SocketRules:
    """`origins`: of web pages that may open a socket without a credential, where anybody may."""

    origins: Sequence[str] = ()
    debug: bool = False


class SocketDoor:
    """ASGI middleware: WebSockets end here, everything else passes. `routes` are whole templates and what is there."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[tuple[str, DeclaredSocket]],
        door: Door,
        opened: OpenSockets,
        tallies: Tallies,
        rules: SocketRules,
    ) -> None:
        self._app, self._door, self._opened, self._tallies, self._rules = app, door, opened, tallies, rules
        self._routes = [(path, pattern_of(path), route) for path, route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        headers = _with_credentials(scope)
        request_id = request_id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        scope["app"] = self._app
        passage = _Passage(scope, receive, send, self._tallies)
        is_foreign = _is_foreign(headers, self._rules.origins)
        entry = Entry(passage.websocket, is_foreign=is_foreign, subprotocol=_bearing(scope["subprotocols"]))
        scope["state"]["entry"] = entry
        try:
            # A caller who leaves is no fault.
            with faults_told(request_id, debug=self._rules.debug), suppress(WebSocketDisconnect, OSError):
                await self._enter(passage, entry, headers)
        except DomainError as error:
            await passage.fail(error)
        except asyncio.CancelledError:  # only a server that stops cancels a socket
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            await passage.close(GOING_AWAY, "the server is stopping")
        finally:
            entry.end()

    async def _enter(self, passage: _Passage, entry: Entry, headers: Mapping[bytes, bytes]) -> None:
        scope, route = passage.websocket.scope, self._find(passage)
        verify = partial(self._door.admit, headers, b"", scope["client"])
        try:
            entry.admit(await verify(), verify)
        except (NotAuthenticated, NotPermitted):
            if route is None or not route.admits_itself or _has_credential(headers):
                raise
        if route is None:
            raise NotFound(f"there is no WebSocket at {scope['path'][:200]}")
        if entry.principal is not None and not route.admits_itself:
            entry.principal.require(route.role)
        self._door.check_open()
        with self._opened.holding(entry):
            await route.endpoint(passage.websocket)

    def _find(self, passage: _Passage) -> DeclaredSocket | None:
        path = passage.websocket.scope["path"]
        for template, pattern, route in self._routes:
            if match := pattern.fullmatch(path):
                passage.route = template
                names = re.findall(r"\{([^}]+)\}", template)
                passage.websocket.scope["path_params"] = dict(zip(names, match.groups(), strict=True))
                return route
        return None


class _Passage:
    """A socket on its way in. `route`: the template that answers it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, tallies: Tallies) -> None:
        self.websocket = WebSocket(scope, receive, self._send_on)
        self.route = _NO_ROUTE
        self._send, self._tallies = send, tallies

    async def fail(self, error: DomainError) -> None:
        """A status while the handshake is open; after it a close, as the route has said what it could."""
        websocket = self.websocket
        if websocket.application_state is not WebSocketState.CONNECTING:
            await close_socket(websocket, FAULT, error.message)
            return
        reply = failure(error, websocket.scope["path"], websocket.scope["state"]["request_id"])
        headers = [(b"content-type", reply.media_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        with suppress(OSError, RuntimeError, WebSocketDisconnect):
            start = {"type": "websocket.http.response.start", "status": reply.status, "headers": headers}
            await websocket.send(start)
            await websocket.send({"type": "websocket.http.response.body", "body": reply.body})

    async def close(self, code: int, reason: str) -> None:
        if self.websocket.application_state is WebSocketState.CONNECTING:
            await self.fail(stopping())
        else:
            await close_socket(self.websocket, code, reason)

    async def _send_on(self, message: Message) -> None:
        if message["type"] in ("websocket.accept", "websocket.http.response.start"):
            scope = self.websocket.scope
            own = [(b"x-request-id", scope["state"]["request_id"].encode()), (b"x-api-version", API_VERSION)]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
            status = message.get("status", _ACCEPTED)
            self._tallies.of(owner_of(scope["path"]).dialect, self.route, _METHOD).count(status)
        await self._send(message)


def _with_credentials(scope: Scope) -> dict[bytes, bytes]:
    """The headers; where they say nothing of who calls, as if they said what the query or a subprotocol does.

    A browser cannot set headers of a WebSocket.
    """
    headers = dict(scope["headers"])
    if _has_credential(headers):
        return headers
    asked = parse_qs(scope["query_string"].decode("latin-1"))
    bearing = _bearing(scope["subprotocols"])
    token = asked["token"][0] if "token" in asked else bearing and bearing.removeprefix(_BEARER)
    if token:
        headers[b"authorization"] = f"Bearer {token}".encode()
    if "api_key" in asked:
        headers[b"x-api-key"] = asked["api_key"][0].encode()
    return headers


def _has_credential(headers: Mapping[bytes, bytes]) -> bool:
    return b"authorization" in headers or b"x-api-key" in headers


def _bearing(subprotocols: Sequence[str]) -> str | None:
    return next((offered for offered in subprotocols if offered.startswith(_BEARER)), None)


def _is_foreign(headers: Mapping[bytes, bytes], allowed: Sequence[str]) -> bool:
    """Whether a web page of another host than ours asks; what is no browser sends no Origin."""
    origin = headers.get(b"origin")
    if origin is None:
        return False
    text = origin.decode("latin-1")
    return text not in allowed and text.partition("://")[2] != headers.get(b"host", b"").decode("latin-1")
