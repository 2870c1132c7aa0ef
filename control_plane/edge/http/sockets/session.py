"""One WebSocket as a conversation in JSON frames: read in order, written from a queue with an end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from control_plane.domain.access import Principal
from control_plane.domain.errors import DomainError, NotAuthenticated
from control_plane.edge.http.sockets.entry import EXPIRED, GOING_AWAY, Entry, close_socket, entry_of
from control_plane.edge.http.sockets.frames import decode_frame, encode_frame, error_fields
from control_plane.edge.quotas import Quotas
from control_plane.edge.refusals import stopping, unexpected
from control_plane.services.registry import Services

log = logging.getLogger(__name__)
QUEUE_MAX = 1000  # frames that wait for a client; T-WS-08
QUEUE_CHARACTERS_MAX = 16 * 1024 * 1024  # of all that wait; one frame, of images say, may have more
TRY_AGAIN_LATER = 1013  # RFC 6455
FLUSH_S = 2.0  # how long a client may take to read what precedes a close
T = TypeVar("T")


class Session:
    """Made by `open_session`. `send` never waits: a client that does not read is closed, and slows nobody.

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
        self._websocket, self._entry, self._debug = websocket, entry, state.http_config.debug
        self._outgoing: deque[Message] = deque()
        self._waiting_characters = 0
        self._writer: asyncio.Task[None] | None = None
        self._closing: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._has_room: asyncio.Event | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._to_finish: set[str] = set()
        self._is_closed = self._is_leaving = False
        entry.close, entry.farewell = self.close, self._say_farewell

    async def serve(self, decoder: msgspec.json.Decoder[T], answer: Callable[[T], Awaitable[None]]) -> None:
        """Until either side leaves."""
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._answer(decoder, answer, message)
                # A burst of messages is in memory already; without this, all is answered before anything is sent.
                await asyncio.sleep(0)
        finally:
            await self._end()

    def send(self, kind: str, **fields: Any) -> None:
        if self._is_closed:
            return
        if len(self._outgoing) >= QUEUE_MAX or self._waiting_characters >= QUEUE_CHARACTERS_MAX:
            self._close_now(TRY_AGAIN_LATER, f"{len(self._outgoing)} messages wait to be read")
            return
        self._enqueue({"type": "websocket.send", "text": encode_frame(kind, fields)})

    def fail(self, error: DomainError) -> None:
        self.send("error", **error_fields(error, self.request_id))

    async def room(self) -> None:
        """Waits until half of the queue is free: for who can be made to wait instead of losing the client."""
        while not self._is_half_empty() and not self._is_closed:
            self._has_room = self._has_room or asyncio.Event()
            self._has_room.clear()
            await self._has_room.wait()

    def _is_half_empty(self) -> bool:
        return len(self._outgoing) <= QUEUE_MAX // 2 and self._waiting_characters <= QUEUE_CHARACTERS_MAX // 2

    def close(self, code: int, reason: str) -> None:
        """After what was sent before it; nothing is sent any more."""
        if self._is_closed:
            return
        self._enqueue({"type": "websocket.close", "code": code, "reason": reason})
        self._is_closed = True
        self._closing = asyncio.get_running_loop().call_later(FLUSH_S, self._close_now, code, reason)

    def check_open(self) -> None:
        """Raises Unavailable once the server is stopping: no new work."""
        if self._is_leaving:
            raise stopping()

    def start(self, name: str, work: Callable[[], Awaitable[None]], *, is_to_finish: bool = False) -> None:
        """What `work` raises is told to the client. There must be none of that name."""
        if is_to_finish:
            self._to_finish.add(name)
        task = self._tasks[name] = asyncio.create_task(self._watched(work))
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

    async def _answer(
        self, decoder: msgspec.json.Decoder[T], answer: Callable[[T], Awaitable[None]], message: Message
    ) -> None:
        if self._is_closed:
            return
        try:
            await self._entry.verified()
            await answer(decode_frame(decoder, message.get("text")))
        except NotAuthenticated as error:
            self.fail(error)
            self.close(EXPIRED, error.message)
        except DomainError as error:
            self.fail(error)
        except Exception as error:
            self._fail_unexpectedly(error)

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except DomainError as error:
            self.fail(error)
        except Exception as error:
            self._fail_unexpectedly(error)

    def _fail_unexpectedly(self, error: Exception) -> None:
        log.error("unexpected failure", extra={"request_id": self.request_id}, exc_info=error)
        self.fail(unexpected(error, debug=self._debug))

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

    def _enqueue(self, message: Message) -> None:
        self._outgoing.append(message)
        self._waiting_characters += len(message.get("text", ""))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """A task only while there is something to write: most sockets are silent most of the time."""
        try:
            while self._outgoing:
                message = self._outgoing.popleft()
                self._waiting_characters -= len(message.get("text", ""))
                await self._websocket.send(message)
                if self._has_room is not None and self._is_half_empty():
                    self._has_room.set()
        except (WebSocketDisconnect, RuntimeError):  # the client has left; whoever reads notices
            self._is_closed = True
        finally:
            self._writer = None
            if self._has_room is not None:
                self._has_room.set()

    def _close_now(self, code: int, reason: str) -> None:
        """Also where the client reads nothing."""
        self._is_closed = True
        self._forget_outgoing()
        if self._writer is not None:
            self._writer.cancel()
        self._closing = asyncio.create_task(close_socket(self._websocket, code, reason))

    def _forget_outgoing(self) -> None:
        self._outgoing.clear()
        self._waiting_characters = 0

    async def _end(self) -> None:
        self._is_closed = True
        self._forget_outgoing()
        if self._closing is not None:
            self._closing.cancel()
        tasks = [task for task in (*self._tasks.values(), self._writer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def open_session(websocket: WebSocket) -> Session:
    """Accepts the socket."""
    entry = entry_of(websocket)
    session = Session(websocket, entry)
    await websocket.accept(entry.subprotocol)
    return session
