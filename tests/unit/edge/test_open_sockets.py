"""Sockets that say nothing are closed as well when their credential is taken back, or the server stops."""

from __future__ import annotations

import asyncio

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError, NotAuthenticated, Unavailable
from control_plane.edge.http.sockets.entry import EXPIRED, GOING_AWAY, Entry
from control_plane.edge.http.sockets.opened import OpenSockets

ANN = Principal("ann", Role.USER)


class Key:
    """`failure`: what looking it up raises. `lookups`: how often that was done."""

    failure: DomainError | None = None
    lookups = 0

    async def verify(self) -> Principal:
        self.lookups += 1
        if self.failure is not None:
            raise self.failure
        return ANN


DELETED = NotAuthenticated("the API key is unknown")


class SilentWebSocket:
    """What an Entry asks of a starlette WebSocket; `closed` is how it ended."""

    def __init__(self) -> None:
        self.scope = {"path": "/ws", "state": {"request_id": "req_1"}}
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def close(self, code: int, reason: str) -> None:
        assert len(reason.encode()) <= 123
        self.closed.set_result(code)


def entered(key: Key) -> tuple[Entry, SilentWebSocket]:
    websocket = SilentWebSocket()
    entry = Entry(websocket, is_foreign=False, subprotocol=None)  # type: ignore[arg-type]
    entry.admit(ANN, key.verify)
    return entry, websocket


async def test_a_deleted_key_closes_what_it_had_opened_and_nothing_else() -> None:
    opened, kept, deleted = OpenSockets(asyncio.Event(), recheck_s=0.01), Key(), Key()
    (one, staying), (other, leaving) = entered(kept), entered(deleted)
    with opened.holding(one), opened.holding(other):
        deleted.failure = DELETED
        assert await asyncio.wait_for(leaving.closed, 30) == EXPIRED
        assert not staying.closed.done()
        assert len(opened) == 2
    assert len(opened) == 0


async def test_a_database_that_does_not_answer_closes_nobody_and_is_asked_again() -> None:
    opened, key = OpenSockets(asyncio.Event(), recheck_s=0.01), Key()
    key.failure = Unavailable("the database does not answer")
    entry, websocket = entered(key)
    with opened.holding(entry):
        async with asyncio.timeout(30):
            while key.lookups < 3:  # noqa: ASYNC110 - it is only counted
                await asyncio.sleep(0.01)
        assert not websocket.closed.done()
        key.failure = DELETED
        assert await asyncio.wait_for(websocket.closed, 30) == EXPIRED


async def test_all_are_told_when_the_server_stops() -> None:
    stopping = asyncio.Event()
    opened, (entry, websocket) = OpenSockets(stopping), entered(Key())
    with opened.holding(entry):
        stopping.set()
        assert await asyncio.wait_for(websocket.closed, 30) == GOING_AWAY


async def test_a_socket_may_come_after_all_others_have_gone() -> None:
    opened = OpenSockets(asyncio.Event(), recheck_s=0.01)
    for _ in range(2):
        key = Key()
        entry, websocket = entered(key)
        with opened.holding(entry):
            key.failure = DELETED
            assert await asyncio.wait_for(websocket.closed, 30) == EXPIRED
