"""Events over HTTP as a browser's EventSource reads them: numbered, kept alive, and over when either side leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any

import anyio
from fastapi import Header, Query
from sse_starlette.event import JSONServerSentEvent, ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from control_plane.domain.events import Event

PING_S = 15
FAREWELL_S = 0.5  # how long a reader that is held back has, once the server stops
SEQ_MAX = 2**63 - 1
MEDIA_TYPE = "text/event-stream"
Render = Callable[[Event], ServerSentEvent]
_SEQ: dict[str, Any] = {"ge": 0, "le": SEQ_MAX}


def resumed_after(
    last_event_id: Annotated[
        int | None, Header(description="what a browser sends when it connects again; wins over `after`", **_SEQ)
    ] = None,
    after: Annotated[int | None, Query(description="a sequence number; only later events are told", **_SEQ)] = None,
) -> int | None:
    """After which sequence number a reader goes on; None where it does not say."""
    return after if last_event_id is None else last_event_id


def stream_responses(example: str) -> dict[int | str, dict[str, Any]]:
    """How such a stream is documented, for FastAPI's `responses`."""
    told = "Server-sent events. `id` is the sequence number, `data` JSON; a comment comes every 15 s at least"
    content = {MEDIA_TYPE: {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": told, "content": content}}


def frame(event: Event, name: str, told: dict[str, Any]) -> ServerSentEvent:
    return JSONServerSentEvent(told, id=str(event.seq), event=name, sep="\n")


class EventStream(EventSourceResponse):
    """Renders events until they end, the caller leaves, or the server stops; then the generator is closed.

    The library learns of a stop from uvicorn's signal handlers, which are not in use here, by asking twice a second.
    This one waits for `stopping`.
    """

    def __init__(self, events: AsyncGenerator[Event, None], render: Render, stopping: asyncio.Event) -> None:
        super().__init__(
            _frames(events, render, stopping),
            headers={"Cache-Control": "no-cache"},
            ping=PING_S,
            ping_message_factory=lambda: ServerSentEvent(comment="ping", sep="\n"),
            sep="\n",
        )
        self._stopping = stopping

    async def _listen_for_exit_signal_with_grace(self) -> None:
        """Returning cuts the stream; `_frames` ends by itself unless its reader has stopped reading."""
        await self._stopping.wait()
        await anyio.sleep(FAREWELL_S)


async def _frames(
    events: AsyncGenerator[Event, None], render: Render, stopping: asyncio.Event
) -> AsyncGenerator[ServerSentEvent, None]:
    coming, stop = asyncio.create_task(_next(events)), asyncio.create_task(stopping.wait())
    try:
        await asyncio.sleep(0)  # from here on it listens: what happens after the answer began is not missed
        yield ServerSentEvent(comment="listening", sep="\n")
        while True:
            await asyncio.wait({coming, stop}, return_when=asyncio.FIRST_COMPLETED)
            event = coming.result() if coming.done() else None
            if event is None:
                return
            yield render(event)
            coming = asyncio.create_task(_next(events))
    finally:
        with anyio.CancelScope(shield=True):
            coming.cancel()
            stop.cancel()
            await asyncio.gather(coming, stop, return_exceptions=True)
            await events.aclose()


async def _next(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
