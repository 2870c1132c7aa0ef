"""The access log of HTTP and WebSockets: middleware around everything, only there when it is wanted."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.edge.access_log import Lines, Stopwatch, redacted

_SWITCHING_PROTOCOLS = 101


class AccessLog:
    """A status of None: nothing was answered, since the caller left. Units: `took_ms` to the end of the answer."""

    def __init__(self, app: ASGIApp, lines: Lines) -> None:
        self._app, self._lines = app, lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch, answered = Stopwatch(), _Answered(send)
        try:
            await self._app(scope, receive, answered.send)
        finally:
            if scope["type"] in ("http", "websocket"):
                self._write(scope, watch, answered)

    def _write(self, scope: Scope, watch: Stopwatch, answered: _Answered) -> None:
        client = scope.get("client")
        self._lines.write(
            {
                "at": watch.at,
                "request_id": answered.request_id,
                "who": _who(scope),
                "peer": client[0] if client else None,
                "method": scope.get("method", "WEBSOCKET"),
                "path": scope["path"],
                "query": redacted(scope["query_string"]) if scope["query_string"] else "",
                "status": answered.status,
                "took_ms": watch.took_ms(),
            }
        )


def _who(scope: Scope) -> str | None:
    principal = scope.get("state", {}).get("principal")
    return None if principal is None else principal.id


class _Answered:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.request_id: str | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
            self.status = message.get("status", _SWITCHING_PROTOCOLS)
            named = dict(message.get("headers", ()))
            self.request_id = named.get(b"x-request-id", b"").decode("latin-1") or None
        await self._send(message)
