"""`Idempotency-Key` on the routes that declare it (C-IDEM-01): middleware between the duties and FastAPI."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.domain.access import Principal
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.idempotency import Answer, Asked
from control_plane.domain.limits import LimitClass
from control_plane.edge.http.arrivals import broken_off, too_large
from control_plane.edge.http.schemas import refusals
from control_plane.services.idempotency import Idempotency

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_NAME = HEADER.lower().encode()
KEY_LENGTH_MAX = 255
_USABLE = re.compile(rb"[\x21-\x7e]{1,%d}" % KEY_LENGTH_MAX)
_DESCRIPTION = (
    "A name of this one request, made up by its sender. The same request sent again under it within 24 hours is not "
    f"carried out again but gets the first one's answer, with the header {REPLAYED}."
)
_PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": _DESCRIPTION,
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": "^[!-~]+$"},
}


@dataclass(frozen=True, slots=True)
class KeyedRoute:
    """A route whose requests may carry a key. `path` is its template; `limit`: the quota that they count in."""

    path: str
    pattern: re.Pattern[str]
    limit: LimitClass | None


def keyed(options: Mapping[str, Any]) -> dict[str, Any]:
    """A route's options for FastAPI, with what the key adds to its entry in the OpenAPI document."""
    extra = options.get("openapi_extra", {})
    return {
        **options,
        "responses": {**refusals(409), **options.get("responses", {})},
        "openapi_extra": {**extra, "parameters": [*extra.get("parameters", ()), _PARAMETER]},
    }


class Keyed:
    """Lets a keyed request through once. `body_bytes_max`: its body is held until it is known to be the first."""

    def __init__(
        self, app: ASGIApp, idempotency: Idempotency, routes: Sequence[KeyedRoute], body_bytes_max: int
    ) -> None:
        self._app, self._idempotency = app, idempotency
        self._routes, self._body_bytes_max = routes, body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._route(scope)
        if route is not None:
            scope["route"] = route  # FastAPI, which would find it, is not asked where a key is refused or replayed
        key = _key(scope) if route is not None else None
        if route is None or key is None:
            await self._app(scope, receive, send)
            return
        body = await self._read(receive)
        first = _Captured()

        async def work() -> Answer:
            await self._app(scope, _given(body, receive), first.send)
            return first.answer()

        answer, is_replay = await self._idempotency.once(_asked(scope, key, body), work)
        if is_replay:
            if route.limit is not None:
                scope["state"]["visit"].enter(route.limit)  # the first one was charged by its endpoint
            await _replay(answer, send)
        else:
            for message in first.messages:
                await send(message)

    def _route(self, scope: Scope) -> KeyedRoute | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        return next((route for route in self._routes if route.pattern.fullmatch(scope["path"])), None)

    async def _read(self, receive: Receive) -> bytes:
        body, message = bytearray(), await receive()
        while message["type"] == "http.request":
            body += message.get("body", b"")
            if len(body) > self._body_bytes_max:
                raise too_large(self._body_bytes_max)
            if not message.get("more_body"):
                return bytes(body)
            message = await receive()
        raise broken_off()


class _Captured:
    """An answer on its way, held back until it is kept."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def answer(self) -> Answer:
        start, *rest = self.messages
        media_type = dict(start["headers"]).get(b"content-type", b"").decode("latin-1")
        return Answer(start["status"], media_type, b"".join(message.get("body", b"") for message in rest))


def _key(scope: Scope) -> bytes | None:
    """Raises InvalidRequest for one that is none, or that comes with an upload."""
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    key = headers.get(_NAME)
    if key is None:
        return None
    if not _USABLE.fullmatch(key):
        raise InvalidRequest(
            f"{HEADER} must be 1 to {KEY_LENGTH_MAX} visible ASCII characters", field=HEADER, reason="header"
        )
    if headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
        # Its body goes to disk as it comes, and each sending of it looks different: the boundary is made up anew.
        raise InvalidRequest(f"an upload cannot carry {HEADER}; leave it out", field=HEADER, reason="header")
    return key


def _asked(scope: Scope, key: bytes, body: bytes) -> Asked:
    """A caller whose role has changed is another one: he may no longer be told what he was told then."""
    caller: Principal = scope["state"]["principal"]
    who = f"{caller.role.value}\0{caller.id}\0{scope['method']}\0{scope['path']}\0"
    where = hashlib.sha256(who.encode("utf-8", "surrogatepass") + key)
    what = hashlib.sha256(scope["query_string"] + b"\0" + body)
    return Asked(where.hexdigest(), what.hexdigest())


def _given(body: bytes, receive: Receive) -> Receive:
    """The body that was read already; after it, what the caller does next."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return messages.pop() if messages else await receive()

    return given


async def _replay(answer: Answer, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(answer.body)), (REPLAYED.lower().encode(), b"true")]
    if answer.media_type:
        headers.append((b"content-type", answer.media_type.encode("latin-1")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
