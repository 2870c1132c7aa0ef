"""One WebSocket as a conversation in JSON frames, with work under names that outlives its message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.websockets import WebSocket

from control_plane.domain.access import Principal
from control_plane.domain.errors import DomainError, NotAuthenticated
from control_plane.edge.http.sockets.connection import Connection
from control_plane.edge.http.sockets.entry import EXPIRED, GOING_AWAY, Entry, entry_of
from control_plane.edge.http.sockets.frames import decode_frame, encode_frame, error_fields
from control_plane.edge.quotas import Quotas
from control_plane.edge.refusals import faults_told, stopping
from control_plane.services.registry import Services

T = TypeVar("T")


class Session:
    """Made by `open_session`. `room` and `close` are its connection's, and so are the bounds of `send`.

    Work that outlives its message is a task of the session under a name, and ends with it. When the server stops, only
    what was started `is_to_finish` may go on.
    """

    def __init__(self, websocket: WebSocket, entry: Entry) -> None:
        state = websocket.app.state
        assert entry.principal is not None  # the door has seen to it
        self.principal: Principal = entry.principal
        self.request_id = entry.request_id
        self.services: Services = state.services
        self.quotas: Quotas = state.quotas
        self._entry, self._debug = entry, state.http_config.debug
        self._connection = Connection(websocket, entry)
        self.room, self.close = self._connection.room, self._connection.close
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._to_finish: set[str] = set()
        self._is_leaving = False
        entry.farewell = self._say_farewell

    async def serve(self, decoder: msgspec.json.Decoder[T], answer: Callable[[T], Awaitable[None]]) -> None:
        """Until either side leaves."""

        async def obey(text: str | None) -> None:
            try:
                await self._entry.verified()
            except NotAuthenticated as error:
                self.fail(error)
                self.close(EXPIRED, error.message)
            else:
                await answer(decode_frame(decoder, text))

        await self._connection.serve(lambda text: self._told(partial(obey, text)))

    def send(self, kind: str, **fields: Any) -> None:
        self._connection.send(encode_frame(kind, fields))

    def fail(self, error: DomainError) -> None:
        self.send("error", **error_fields(error, self.request_id))

    def check_open(self) -> None:
        """Raises Unavailable once the server is stopping: no new work."""
        if self._is_leaving:
            raise stopping()

    def start(self, name: str, work: Callable[[], Awaitable[None]], *, is_to_finish: bool = False) -> None:
        """What `work` raises is told to the client. There must be none of that name."""
        if is_to_finish:
            self._to_finish.add(name)
        task = self._tasks[name] = self._connection.start(self._told(work))
        task.add_done_callback(lambda done: self._forget(name, done))

    def is_running(self, name: str) -> bool:
        return name in self._tasks

    def count_running(self) -> int:
        return len(self._tasks)

    async def cancel(self, name: str) -> bool:
        """Returns when that work has ended; whether there was any."""
        task = self._tasks.get(name)
        if task is None:
            return False
        task.cancel()
        await asyncio.wait({task})
        self._forget(name, task)
        return True

    async def _told(self, work: Callable[[], Awaitable[None]]) -> None:
        """What `work` raises is told to the client."""
        try:
            with faults_told(self.request_id, debug=self._debug):
                await work()
        except DomainError as error:
            self.fail(error)

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
            self._to_finish.discard(name)
            self._leave_when_finished()

    def _say_farewell(self) -> None:
        self.send("server_shutdown", message="the server is stopping")
        self._is_leaving = True
        for name, task in self._tasks.items():
            if name not in self._to_finish:
                task.cancel()
        self._leave_when_finished()

    def _leave_when_finished(self) -> None:
        if self._is_leaving and not self._to_finish:
            self.close(GOING_AWAY, "the server is stopping")


async def open_session(websocket: WebSocket) -> Session:
    """Accepts the socket."""
    entry = entry_of(websocket)
    session = Session(websocket, entry)
    await websocket.accept(entry.subprotocol)
    return session
