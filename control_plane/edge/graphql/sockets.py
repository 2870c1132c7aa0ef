"""A GraphQL conversation over a WebSocket, in either subprotocol (T-GQL-09, T-GQL-10, C-AUTH-10)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from graphql import GraphQLError
from starlette.websockets import WebSocket, WebSocketDisconnect

from control_plane.domain.errors import DomainError, InvalidRequest, NotAuthenticated
from control_plane.edge.graphql.asking import Asked
from control_plane.edge.graphql.context import Call
from control_plane.edge.graphql.operations import Operations, Refused
from control_plane.edge.graphql.subprotocols import (
    SUBPROTOCOLS,
    BadMessage,
    Command,
    Init,
    Json,
    Ping,
    Start,
    Stop,
    Subprotocol,
    Terminate,
)
from control_plane.edge.http.sockets.entry import GOING_AWAY, Entry, close_socket, entry_of
from control_plane.edge.quotas import Visit
from control_plane.edge.refusals import stopping
from control_plane.edge.request_ids import new_request_id
from control_plane.services.access import Presented
from control_plane.services.audit import Actor, act

INIT_S = 10.0  # how long a client has to begin
OPERATIONS_MAX = 100  # of one connection at a time
TASKS_MAX = 2 * OPERATIONS_MAX  # with those that were stopped, or whose end the client does not read
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
        self._websocket, self._words, self._operations = websocket, words, operations
        self._entry: Entry = entry_of(websocket)
        self._entry.farewell = self._part
        self._has_begun = False
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parting: asyncio.Task[None] | None = None

    async def hold(self) -> None:
        deadline = asyncio.get_running_loop().call_later(INIT_S, self._give_up)
        try:
            while (message := await self._websocket.receive())["type"] == "websocket.receive":
                await self._obey(self._words.read(message.get("text")))
        except BadMessage as bad:
            await close_socket(self._websocket, BAD_REQUEST, str(bad))
        except _Over as over:
            await close_socket(self._websocket, over.code, over.reason)
        finally:
            deadline.cancel()
            await self._end_all()

    def _give_up(self) -> None:
        if not self._has_begun:
            self._entry.close(INIT_TIMEOUT, "connection_init did not come")

    async def _obey(self, command: Command) -> None:
        match command:
            case Init(payload):
                await self._begin(payload)
            case Start():
                await self._start(command)
            case Stop(id=name):
                self._stop(name)
            case Ping(payload):
                await self._say({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})
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
                await self._say(refusal)
            is_missing = isinstance(error, NotAuthenticated) and not presented.raw
            raise _Over(UNAUTHORIZED if is_missing else FORBIDDEN, error.message) from None
        await self._say({"type": "connection_ack"})

    async def _start(self, start: Start) -> None:
        if not self._has_begun:
            raise _Over(UNAUTHORIZED, "say connection_init first")
        if start.id in self._running:
            raise _Over(ID_IN_USE, f"Subscriber for {start.id} already exists")
        if len(self._running) >= OPERATIONS_MAX or len(self._tasks) >= TASKS_MAX:
            raise _Over(BAD_REQUEST, f"at most {OPERATIONS_MAX} operations at a time")
        try:
            await self._entry.verified()
        except NotAuthenticated as error:
            raise _Over(FORBIDDEN, error.message) from None
        task = self._running[start.id] = asyncio.create_task(self._run(start))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, start: Start) -> None:
        """Until it is over or stopped. Its id is free again before the client hears that it is over."""
        quotas = self._websocket.app.state.quotas
        principal, request_id = self._entry.principal, new_request_id()
        act(Actor(principal, request_id, "websocket", self._websocket.url.path))
        call = Call(self._websocket.app.state.services, Visit(quotas, principal), request_id)
        try:
            async with aclosing(self._results(start, call)) as results:
                async for result in results:
                    await self._say(self._words.answer(start.id, result))
            end = self._words.end(start.id)
        except Refused as refused:
            end = self._words.refusal(start.id, refused.errors)
        except Exception as error:
            bug = GraphQLError(str(error), original_error=error)
            end = self._words.refusal(start.id, self._operations.told([bug], call))
        finally:
            call.visit.leave()
        self._running.pop(start.id)
        await self._say(end)

    def _results(self, start: Start, call: Call) -> AsyncGenerator[Json, None]:
        """Raises Refused, at once where the operation cannot even begin."""
        refusal: DomainError | None = start.asked if isinstance(start.asked, InvalidRequest) else None
        if call.services.health.is_stopping:
            refusal = stopping()
        if refusal is not None:
            raise Refused(self._operations.told([GraphQLError(refusal.message, original_error=refusal)], call))
        assert isinstance(start.asked, Asked)
        return self._operations.follow(start.asked, call)

    def _stop(self, name: str) -> None:
        """Over already is fine: the two may have crossed."""
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()

    async def _say(self, message: Json) -> None:
        # The other side may be gone; then there is nobody to be told, and `hold` ends what runs.
        with suppress(RuntimeError, WebSocketDisconnect, OSError):
            await self._websocket.send_text(json.dumps(message, default=str))

    def _part(self) -> None:
        """The server stops: what runs may finish, as any request may; nothing new begins."""
        self._parting = asyncio.create_task(self._say_farewell())

    async def _say_farewell(self) -> None:
        if self._running:
            await asyncio.wait(list(self._running.values()))
        await close_socket(self._websocket, GOING_AWAY, "the server is stopping")

    async def _end_all(self) -> None:
        tasks = list(self._tasks)
        self._running.clear()
        if self._parting is not None:
            tasks.append(self._parting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def presented_in(payload: Mapping[str, Any]) -> Presented:
    """The names of headers are written in any case; values that are no texts are no credentials."""
    given = {name.lower(): value for name, value in payload.items() if isinstance(value, str)}
    return Presented(given.get("authorization") or None, given.get("x-api-key") or None)
