"""What the door knows of a WebSocket, for the route behind it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import cast

from starlette.websockets import WebSocket, WebSocketDisconnect

from control_plane.domain.access import Principal
from control_plane.domain.errors import DomainError, NotAuthenticated, NotPermitted
from control_plane.edge.quotas import Quotas
from control_plane.services.access import Access, Presented
from control_plane.services.audit import Actor, act

log = logging.getLogger(__name__)
GOING_AWAY, FAULT = 1001, 1011  # RFC 6455
EXPIRED = 4401  # 4000 and the HTTP status that says so
REASON_BYTES_MAX = 123  # RFC 6455: a control frame has 125
Verify = Callable[[], Awaitable[Principal]]


class Entry:
    """A WebSocket that was let in.

    `principal` is None where the route admits its callers itself and none has said who he is. `subprotocol`: the one
    that carried the credential, to be echoed in `accept`. `close(code, reason)` and `farewell()`, what happens when the
    server stops, may be replaced by the route.
    """

    __slots__ = (
        "_closing",
        "_expiry",
        "_verify",
        "_websocket",
        "close",
        "farewell",
        "is_foreign",
        "principal",
        "subprotocol",
    )

    def __init__(self, websocket: WebSocket, *, is_foreign: bool, subprotocol: str | None) -> None:
        self._websocket, self.is_foreign, self.subprotocol = websocket, is_foreign, subprotocol
        self.principal: Principal | None = None
        self._verify: Verify | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self.close: Callable[[int, str], None] = self._close
        self.farewell: Callable[[], None] = partial(self._close, GOING_AWAY, "the server is stopping")

    @property
    def request_id(self) -> str:
        return cast(str, self._websocket.scope["state"]["request_id"])

    def admit(self, principal: Principal, verify: Verify) -> None:
        """From now on it is this caller's, and it is closed when his credential ends, or `verify` says that it has.

        Raises: NotPermitted for a page of a foreign origin without a credential: browsers let any page open a socket to
        any server, also to one that only this machine can reach.
        """
        if principal.is_anonymous and self.is_foreign:
            raise NotPermitted("pages of other origins need a credential, or a place in TRITONPLANE_CORS_ORIGINS")
        self.principal, self._verify = principal, verify
        self._websocket.scope["state"]["principal"] = principal  # where any request has it
        act(Actor(principal, self.request_id, "websocket", self._websocket.scope["path"]))
        self.forget_expiry()
        if principal.expires_at_s is not None:
            left_s = max(0.0, principal.expires_at_s - time.time())
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(left_s, lambda: self.close(EXPIRED, "the credential has expired"))

    async def admit_presented(self, presented: Presented) -> Principal:
        """For a route that admits its callers itself. Raises NotAuthenticated, NotPermitted."""
        access: Access = self._websocket.app.state.services.access
        quotas: Quotas = self._websocket.app.state.quotas
        peer, told = self._websocket.client, self._websocket.headers.get("x-forwarded-for", "")
        principal = quotas.named(await access.identify(presented), peer.host if peer else "", told)
        self.admit(principal, partial(access.identify, presented))
        return principal

    async def verified(self) -> None:
        """Cheap, as a credential that was verified a moment ago is remembered. Raises NotAuthenticated."""
        if self._verify is not None:
            await self._verify()

    async def recheck(self) -> None:
        """Close it if its credential has been taken back."""
        try:
            await self.verified()
        except NotAuthenticated as error:
            self.close(EXPIRED, error.message)
        except DomainError as error:  # the database does not answer, say: it is asked again soon
            log.warning("a socket's credential cannot be checked", extra={"reason": error.message})

    def end(self) -> None:
        """The socket is closed. What its route has put here would keep both in a circle, for the collector to find."""
        self.forget_expiry()
        self.close, self.farewell = _closed_already, _closed_already

    def forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(close_socket(self._websocket, code, reason))


def _closed_already(*_: object) -> None: ...


def entry_of(websocket: WebSocket) -> Entry:
    return cast(Entry, websocket.scope["state"]["entry"])


async def close_socket(websocket: WebSocket, code: int, reason: str) -> None:
    """Closed already, by either side, is fine."""
    with suppress(RuntimeError, WebSocketDisconnect, OSError):
        await websocket.close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
