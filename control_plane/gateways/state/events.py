"""The numbered stream of events in SQL: written in batches, replayed in pages, followed from memory."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.domain.errors import DomainError
from control_plane.domain.events import Event, EventFilter, NewEvent, Topic
from control_plane.gateways.state.database import SqlDatabase
from control_plane.gateways.state.tables import events
from control_plane.ports import Clock

log = logging.getLogger(__name__)
PAGE = 200
RECENT = 1000  # events kept in memory for those who follow; who is further behind reads the database
KEPT = 100_000  # events that are not of a job; those go with their job
PENDING_MAX = 10_000  # not yet written, when the database does not answer
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Pending:
    at: datetime
    event: NewEvent


class SqlEvents:
    """Numbers are given in the order of commits, so who has seen a number has seen all that are lower."""

    def __init__(self, database: SqlDatabase, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._pending: deque[_Pending] = deque(maxlen=PENDING_MAX)
        self._is_wanted, self._is_closing, self._ended = asyncio.Event(), False, False
        # All that was recorded after `_floor`, without a gap.
        self._recent: deque[Event] = deque()
        self._floor = 0
        self._news = asyncio.Event()

    def publish(self, event: NewEvent) -> None:
        if len(self._pending) == PENDING_MAX:
            log.error("an event is lost: the database does not answer", extra={"event": self._pending[0].event.kind})
        self._pending.append(_Pending(self._clock.now(), event))
        self._is_wanted.set()

    async def watch(self, wanted: EventFilter, after: int | None = None) -> AsyncGenerator[Event, None]:
        position = await self._begin(after)
        while not self._ended:
            news = self._news
            if position < self._floor:
                found, position = await self._page(wanted, position)
            else:
                found, position = self._followed(wanted, position), self._last
            for event in found:
                yield event
            if not found and position == self._last:
                await news.wait()

    def end_watches(self) -> None:
        """The server stops: who follows is let go. What is published is recorded all the same."""
        self._ended = True
        self._wake()

    async def forget_old(self) -> None:
        """Keep the newest that are not of a job."""
        others = select(events.c.seq).where(events.c.topic != Topic.JOB.value)
        oldest_kept = others.order_by(events.c.seq.desc()).limit(1).offset(KEPT - 1).scalar_subquery()
        async with self._database.writing() as connection:
            await connection.execute(
                delete(events).where(events.c.topic != Topic.JOB.value, events.c.seq < oldest_kept)
            )

    async def record(self, connection: AsyncConnection, event: NewEvent) -> Event:
        """In the caller's transaction, who delivers it once that is committed."""
        (recorded,) = await _insert(connection, [_Pending(self._clock.now(), event)])
        return recorded

    def deliver(self, recorded: Sequence[Event]) -> None:
        """Hand committed events to who follows.

        Transactions may finish in another order than they were committed in, and one whose caller was cancelled never
        tells of its events: where a number is missing, memory starts anew above it, and below it the database is read.
        """
        for event in recorded:
            if event.seq <= self._last:
                continue
            if event.seq != self._last + 1:
                self._recent.clear()
                self._floor = event.seq - 1
            self._recent.append(event)
            if len(self._recent) > RECENT:
                self._floor = self._recent.popleft().seq
        self._wake()

    def forget_recent(self) -> None:
        """Events were deleted: who is behind reads what is left."""
        self._floor = self._last
        self._recent.clear()

    @property
    def _last(self) -> int:
        return self._recent[-1].seq if self._recent else self._floor

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _begin(self, after: int | None) -> int:
        """A number from another life of the database, larger than all, means: what comes now."""
        if after is None:
            return self._last
        return after if after <= self._last else min(after, await self._last_recorded())

    async def _last_recorded(self) -> int:
        async with self._database.reading() as connection:
            return int((await connection.execute(select(func.coalesce(func.max(events.c.seq), 0)))).scalar_one())

    def _followed(self, wanted: EventFilter, position: int) -> list[Event]:
        newer: list[Event] = []
        for event in reversed(self._recent):
            if event.seq <= position:
                break
            if wanted.wants(event):
                newer.append(event)
        return newer[::-1]

    async def _page(self, wanted: EventFilter, position: int) -> tuple[list[Event], int]:
        known = self._last  # committed, so the query sees all up to here
        async with self._database.reading() as connection:
            found = [_event(row) for row in await connection.execute(_wanted(wanted, position))]
        if len(found) == PAGE:
            return found, found[-1].seq
        return found, max([known, *(event.seq for event in found)])

    async def open(self) -> None:
        await self.forget_old()
        self._floor = await self._last_recorded()

    async def write(self) -> None:
        """Record what is published, until `close`."""
        while not self._is_closing or self._pending:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            while self._pending:
                batch = [self._pending.popleft() for _ in range(min(PAGE, len(self._pending)))]
                while not await self._is_settled(batch):
                    pass

    def close(self) -> None:
        """`write` ends when all is recorded."""
        self.end_watches()
        self._is_closing = True
        self._is_wanted.set()

    async def _is_settled(self, batch: Sequence[_Pending]) -> bool:
        """False to try again; what cannot be recorded as the server ends is lost."""
        try:
            async with self._database.writing() as connection:
                recorded = await _insert(connection, batch)
        except DomainError as error:
            log.error("events are not recorded yet", extra={"count": len(batch), "reason": error.message})
            await asyncio.sleep(RETRY_S)
            return self._is_closing
        except StatementError:
            log.exception("events are lost: one of them is not JSON", extra={"count": len(batch)})
            return True
        self.deliver(recorded)
        return True


@asynccontextmanager
async def open_events(database: SqlDatabase, clock: Clock) -> AsyncIterator[SqlEvents]:
    """All that is published within the block is recorded at its end."""
    stream = SqlEvents(database, clock)
    await stream.open()
    writing = asyncio.create_task(stream.write(), name="events")
    try:
        yield stream
    finally:
        stream.close()
        await writing


async def _insert(connection: AsyncConnection, batch: Sequence[_Pending]) -> list[Event]:
    rows = [
        {"at": one.at, "topic": one.event.topic.value, "subject": one.event.subject}
        | {"kind": one.event.kind, "payload": one.event.payload}
        for one in batch
    ]
    inserted = await connection.execute(insert(events).returning(events, sort_by_parameter_order=True), rows)
    return [_event(row) for row in inserted]


def _wanted(wanted: EventFilter, position: int) -> Select[Any]:
    query = select(events).where(events.c.seq > position)
    if wanted.topics:
        query = query.where(events.c.topic.in_(sorted(topic.value for topic in wanted.topics)))
    if wanted.subject is not None:
        query = query.where(events.c.subject == wanted.subject)
    return query.order_by(events.c.seq).limit(PAGE)


def _event(row: Row[Any]) -> Event:
    columns = row._mapping
    return Event(**{**columns, "topic": Topic(columns["topic"])})
