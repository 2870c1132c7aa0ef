"""A GraphQL conversation over a WebSocket, in either subprotocol (T-GQL-09, T-GQL-10, C-AUTH-10)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from graphql import GraphQLError
from starlette.websockets import WebSocket

from control_plane.domain.errors import DomainError, InvalidRequest, NotAuthenticated
from control_plane.edge.graphql.context import Call
from control_plane.edge.graphql.failures import Json
from control_plane.edge.graphql.operations import Operations, Refused
from control_plane.edge.graphql.subprotocols import (
    SUBPROTOCOLS,
    BadMessage,
    Command,
    Init,
    Ping,
    Start,
    Stop,
    Subprotocol,
    Terminate,
)
from control_plane.edge.http.sockets.connection import Connection
from control_plane.edge.http.sockets.entry import GOING_AWAY, Entry, close_socket, entry_of
from control_plane.edge.quotas import Visit
from control_plane.edge.refusals import faults_told, stopping
from control_plane.edge.request_ids import new_request_id
from control_plane.services.access import Presented
from control_plane.services.audit import Actor, act

INIT_S = 10.0  # how long a client has to begin
OPERATIONS_MAX = 100  # of one connection at a time
TASKS_MAX = 2 * OPERATIONS_MAX  # with those that were stopped and have not ended yet
# Close codes of graphql-transport-ws; the older protocol has none of its own.
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_ACCEPTABLE = 4400, 4401, 4403, 4406
INIT_TIMEOUT, ID_IN_USE, TOO_MANY = 4408, 4409, 4429
NORMAL = 1000


class _Over(Exception):
    """The connection is to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


async def converse(websocket: WebSocket, operations: Operations) -> None:
    """Until either side closes it; whatever still runs then is ended, inside Triton too."""
    offered = websocket.scope["subprotocols"]
    name = next((name for name in offered if name in SUBPROTOCOLS), None)
    await websocket.accept(name)
    if name is None:
        await close_socket(websocket, NOT_ACCEPTABLE, f"offer one of the subprotocols {', '.join(SUBPROTOCOLS)}")
        return
    await _Conversation(websocket, SUBPROTOCOLS[name], operations).hold()


class _Conversation:
    def __init__(self, websocket: WebSocket, words: Subprotocol, operations: Operations) -> None:
        self._state, self._path = websocket.app.state, websocket.url.path
        self._words, self._operations = words, operations
        self._entry: Entry = entry_of(websocket)
        self._connection = Connection(websocket, self._entry)
        self._entry.farewell = self._part
        self._has_begun = self._is_leaving = False
        self._running: dict[str, asyncio.Task[None]] = {}

    async def hold(self) -> None:
        deadline = asyncio.get_running_loop().call_later(INIT_S, self._give_up)
        try:
            await self._connection.serve(self._hear)
        finally:
            deadline.cancel()

    def _give_up(self) -> None:
        if not self._has_begun:
            self._connection.close(INIT_TIMEOUT, "connection_init did not come")

    async def _hear(self, text: str | None) -> None:
        try:
            await self._obey(self._words.read(text))
        except BadMessage as bad:
            self._connection.close(BAD_REQUEST, str(bad))
        except _Over as over:
            self._connection.close(over.code, over.reason)

    async def _obey(self, command: Command) -> None:
        match command:
            case Init(payload):
                await self._begin(payload)
            case Start():
                await self._start(command)
            case Stop(id=name):
                self._stop(name)
            case Ping(payload):
                self._say({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})
            case Terminate():
                raise _Over(NORMAL, "")

    async def _begin(self, payload: Mapping[str, Any]) -> None:
        if self._has_begun:
            raise _Over(TOO_MANY, "connection_init was said before")
        self._has_begun = True
        presented = presented_in(payload)
        try:
            # A credential in the message wins over one of the handshake.
            if presented.raw or self._entry.principal is None:
                await self._entry.admit_presented(presented)
        except DomainError as error:
            refusal = self._words.beginning_refused(error)
            if refusal is not None:
                self._say(refusal)
            is_missing = isinstance(error, NotAuthenticated) and not presented.raw
            raise _Over(UNAUTHORIZED if is_missing else FORBIDDEN, error.message) from None
        self._say({"type": "connection_ack"})

    async def _start(self, start: Start) -> None:
        if not self._has_begun:
            raise _Over(UNAUTHORIZED, "say connection_init first")
        if start.id in self._running:
            raise _Over(ID_IN_USE, f"Subscriber for {start.id} already exists")
        if len(self._running) >= OPERATIONS_MAX or self._connection.count_running() >= TASKS_MAX:
            raise _Over(BAD_REQUEST, f"at most {OPERATIONS_MAX} operations at a time")
        try:
            await self._entry.verified()
        except NotAuthenticated as error:
            raise _Over(FORBIDDEN, error.message) from None
        self._running[start.id] = self._connection.start(self._run(start))

    async def _run(self, start: Start) -> None:
        """Until it is over or stopped. Its id is free again before the client hears that it is over."""
        principal, request_id = self._entry.principal, new_request_id()
        act(Actor(principal, request_id, "websocket", self._path))
        call = Call(self._state.services, Visit(self._state.quotas, principal), request_id)
        try:
            with faults_told(request_id, debug=self._operations.debug):
                end = await self._answer(start, call)
        except DomainError as error:
            refusal = GraphQLError(error.message, original_error=error)
            end = self._words.refusal(start.id, self._operations.told([refusal], call))
        finally:
            call.visit.leave()
        del self._running[start.id]
        self._say(end)
        self._leave_when_finished()

    async def _answer(self, start: Start, call: Call) -> Json:
        """What is to be said at its end. Raises what refuses it before it begins."""
        if isinstance(start.asked, InvalidRequest):
            raise start.asked
        if call.services.health.is_stopping:
            raise stopping()
        try:
            async with aclosing(self._operations.follow(start.asked, call)) as results:
                async for result in results:
                    self._say(self._words.answer(start.id, result))
                    await self._connection.room()
        except Refused as refused:
            return self._words.refusal(start.id, refused.errors)
        return self._words.end(start.id)

    def _stop(self, name: str) -> None:
        """Over already is fine: the two may have crossed."""
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()
            self._leave_when_finished()

    def _say(self, message: Json) -> None:
        self._connection.send(json.dumps(message, default=str))

    def _part(self) -> None:
        """The server stops: what runs may finish, as any request may; nothing new begins."""
        self._is_leaving = True
        self._leave_when_finished()

    def _leave_when_finished(self) -> None:
        if self._is_leaving and not self._running:
            self._connection.close(GOING_AWAY, "the server is stopping")


def presented_in(payload: Mapping[str, Any]) -> Presented:
    """The names of headers are written in any case; values that are no texts are no credentials."""
    given = {name.lower(): value for name, value in payload.items() if isinstance(value, str)}
    return Presented(given.get("authorization") or None, given.get("x-api-key") or None)
