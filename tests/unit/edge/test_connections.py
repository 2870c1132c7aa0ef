"""What waits for a WebSocket's client: in order, with an end, and with a close as the last of it (T-WS-08)."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.edge.http.sockets.connection import QUEUE_CHARACTERS_MAX, QUEUE_MAX, TRY_AGAIN_LATER, Connection
from control_plane.edge.http.sockets.entry import Entry


class GatedWebSocket:
    """What a Connection asks of a starlette WebSocket; its client reads nothing until `reads` is set."""

    def __init__(self) -> None:
        self.scope = {"path": "/ws", "state": {"request_id": "req_1"}}
        self.reads, self.got = asyncio.Event(), list[str]()
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.got.append(text)

    async def close(self, code: int, reason: str) -> None:
        self.closed.set_result((code, reason))


def connected() -> tuple[Connection, GatedWebSocket]:
    websocket = GatedWebSocket()
    entry = Entry(websocket, is_foreign=False, subprotocol=None)  # type: ignore[arg-type]
    return Connection(websocket, entry), websocket  # type: ignore[arg-type]


async def test_a_close_comes_after_what_was_sent_before_it_and_nothing_after_it() -> None:
    connection, websocket = connected()
    connection.send("one")
    connection.send("two")
    connection.close(4404, "é" * 100)
    connection.send("three")
    assert not websocket.closed.done()
    websocket.reads.set()
    # A control frame has room for 123 bytes of UTF-8.
    assert await websocket.closed == (4404, "é" * 61)
    assert websocket.got == ["one", "two"]


@pytest.mark.parametrize("text", ["x", "x" * (QUEUE_CHARACTERS_MAX // 8)], ids=["many", "long"])
async def test_who_waits_for_room_loses_nothing_to_a_client_that_reads_late(text: str) -> None:
    connection, websocket = connected()

    async def say() -> None:
        for _ in range(2 * QUEUE_MAX):
            connection.send(text)
            await connection.room()

    saying = asyncio.create_task(say())
    for _ in range(2 * QUEUE_MAX):
        await asyncio.sleep(0)
    assert not saying.done()
    websocket.reads.set()
    await saying
    connection.close(1000, "")
    await websocket.closed
    assert websocket.got == [text] * 2 * QUEUE_MAX


@pytest.mark.parametrize("text", ["x", "x" * (QUEUE_CHARACTERS_MAX // 8)], ids=["many", "long"])
async def test_who_does_not_wait_loses_a_client_that_does_not_read(text: str) -> None:
    connection, websocket = connected()
    while not websocket.closed.done():
        connection.send(text)
        await asyncio.sleep(0)
    code, _ = await websocket.closed
    assert code == TRY_AGAIN_LATER
    await connection.room()  # nobody waits for a client that has gone
    assert websocket.got == []
