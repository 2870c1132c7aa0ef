"""One WebSocket, once it is open: read in order, written from a queue with an end, and all that ends with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine

from starlette.websockets import WebSocket, WebSocketDisconnect

from control_plane.edge.http.sockets.entry import Entry, close_socket

QUEUE_MAX = 1000  # texts that wait for a client; T-WS-08
QUEUE_CHARACTERS_MAX = 16 * 1024 * 1024  # of all that wait; one text, of images say, may have more
TRY_AGAIN_LATER = 1013  # RFC 6455
FLUSH_S = 2.0  # how long a client may take to read what precedes a close


class Connection:
    """`send` never waits: a client that does not read is closed, and slows nobody. `start` begins what ends with it."""

    def __init__(self, websocket: WebSocket, entry: Entry) -> None:
        self._websocket = websocket
        self._outgoing: deque[str] = deque()
        self._waiting_characters = 0
        self._writer: asyncio.Task[None] | None = None
        self._has_room: asyncio.Event | None = None
        self._last_words: tuple[int, str] | None = None
        self._closing: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        entry.close = self.close

    async def serve(self, hear: Callable[[str | None], Awaitable[None]]) -> None:
        """Until either side leaves, `hear` is handed what the client says; None is a binary frame."""
        try:
            while (message := await self._websocket.receive())["type"] == "websocket.receive":
                if not self._is_closed:
                    await hear(message.get("text"))
                # A burst of messages is in memory already; without this, all is answered before anything is sent.
                await asyncio.sleep(0)
        finally:
            await self._end()

    def send(self, text: str) -> None:
        if self._is_closed:
            return
        if len(self._outgoing) >= QUEUE_MAX or self._waiting_characters >= QUEUE_CHARACTERS_MAX:
            self._close_now(TRY_AGAIN_LATER, f"{len(self._outgoing)} messages wait to be read")
            return
        self._outgoing.append(text)
        self._waiting_characters += len(text)
        self._write_soon()

    async def room(self) -> None:
        """Waits until half of the queue is free: for who can be made to wait instead of losing the client.

        What comes in a burst has its chance to be written one by one.
        """
        await asyncio.sleep(0)
        while not self._is_half_empty() and not self._is_closed:
            self._has_room = self._has_room or asyncio.Event()
            self._has_room.clear()
            await self._has_room.wait()

    def close(self, code: int, reason: str) -> None:
        """After what was sent before it; nothing is sent any more."""
        if self._is_closed:
            return
        self._is_closed, self._last_words = True, (code, reason)
        self._closing = asyncio.get_running_loop().call_later(FLUSH_S, self._close_now, code, reason)
        self._write_soon()

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def count_running(self) -> int:
        return len(self._tasks)

    def _is_half_empty(self) -> bool:
        return len(self._outgoing) <= QUEUE_MAX // 2 and self._waiting_characters <= QUEUE_CHARACTERS_MAX // 2

    def _write_soon(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """A task only while there is something to write: most sockets are silent most of the time."""
        try:
            while self._outgoing:
                text = self._outgoing.popleft()
                self._waiting_characters -= len(text)
                await self._websocket.send_text(text)
                if self._has_room is not None and self._is_half_empty():
                    self._has_room.set()
            if self._last_words is not None:
                await close_socket(self._websocket, *self._last_words)
        except (WebSocketDisconnect, RuntimeError):  # the client has left; whoever reads notices
            self._is_closed = True
        finally:
            self._writer = None
            if self._has_room is not None:
                self._has_room.set()

    def _close_now(self, code: int, reason: str) -> None:
        """Also where the client reads nothing."""
        self._forget_outgoing()
        if self._writer is not None:
            self._writer.cancel()
        self._closing = asyncio.create_task(close_socket(self._websocket, code, reason))

    def _forget_outgoing(self) -> None:
        self._is_closed = True
        self._outgoing.clear()
        self._waiting_characters = 0

    async def _end(self) -> None:
        self._forget_outgoing()
        if self._closing is not None:
            self._closing.cancel()
        tasks = [*self._tasks, *([self._writer] if self._writer is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
