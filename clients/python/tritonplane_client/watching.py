"""Events off a stream, taken up again after the last one when a connection breaks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from tritonplane_client.errors import (
    ApiError,
    ConnectionFailed,
    ConnectionLost,
    RequestTimedOut,
    TritonplaneError,
    UnexpectedAnswer,
)
from tritonplane_client.job_schemas import Event, JobEvent
from tritonplane_client.operations import Operation
from tritonplane_client.retries import PASSING, REFUSED_FOR_NOW

PATIENCE_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 4.0
ENDS = frozenset({"completed", "failed", "cancelled"})
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event with its JSON."""

    seq: int
    name: str
    told: dict[str, Any]


class FrameReader:
    """Turns the bytes of a stream into frames, however the network cut them."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[bytes, bytes] = {}

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The frames that are whole by now. Raises UnexpectedAnswer."""
        # Lines end with "\n" only: splitting as text would also cut at U+2028 or U+0085 inside a message.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            if name:
                self._fields[name] = value.removeprefix(b" ")
            elif not value and (fields := self._taken()).get(b"data"):
                yield _frame(fields)

    def _taken(self) -> dict[bytes, bytes]:
        taken, self._fields = self._fields, {}
        return taken


class Watch(Generic[E]):
    """One watch over as many connections as it takes. Units: `patience_s` seconds of nobody answering are too many."""

    def __init__(
        self, operation: Operation[None], read: Callable[[Frame], E], ends: frozenset[str], patience_s: float
    ) -> None:
        self.operation, self.is_over = operation, False
        self._read, self._ends, self._patience_s = read, ends, patience_s
        self._frames = FrameReader()
        self._began = False
        self._lost_at: float | None = None
        self._wait_s = FIRST_WAIT_S

    def begin(self, status: int) -> None:
        """A connection stands; a status 204 means that there is nothing more to tell."""
        self._frames, self._began, self.is_over = FrameReader(), True, status == 204

    def feed(self, chunk: bytes) -> Iterator[E]:
        self._lost_at, self._wait_s = None, FIRST_WAIT_S
        for frame in self._frames.feed(chunk):
            self.operation = replace(self.operation, last_event_id=frame.seq)
            self.is_over = self.is_over or frame.name in self._ends
            yield self._read(frame)

    def wait_s(self, failure: TritonplaneError) -> float:
        """How long to wait before connecting again. Raises the failure where that is no use."""
        lost_at = self._lost_at = self._lost_at or monotonic()
        wait_s = self._wait_s
        if isinstance(failure, ApiError) and failure.retry_after_s is not None:
            wait_s = failure.retry_after_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        if not self._began or not _is_passing(failure) or monotonic() + wait_s - lost_at > self._patience_s:
            raise failure
        return wait_s


def job_watch(operation: Operation[None], patience_s: float) -> Watch[JobEvent]:
    return Watch(operation, _job_event, ENDS, patience_s)


def event_watch(operation: Operation[None], patience_s: float) -> Watch[Event]:
    return Watch(operation, _event, frozenset(), patience_s)


def cut_short() -> ConnectionLost:
    """A stream that ended where it should go on: the server is stopping, or a proxy has had enough."""
    return ConnectionLost("the server ended the stream of events")


def _frame(fields: dict[bytes, bytes]) -> Frame:
    try:
        return Frame(int(fields[b"id"]), fields[b"event"].decode(), json.loads(fields[b"data"]))
    except (KeyError, ValueError) as error:
        raise UnexpectedAnswer(f"the stream holds an event that cannot be read: {fields!r:.80}") from error


def _job_event(frame: Frame) -> JobEvent:
    return cast(JobEvent, {"seq": frame.seq, "kind": frame.name, **frame.told})


def _event(frame: Frame) -> Event:
    return cast(Event, {"seq": frame.seq, **frame.told})


def _is_passing(failure: TritonplaneError) -> bool:
    if isinstance(failure, ApiError):
        return failure.status in PASSING | REFUSED_FOR_NOW
    return isinstance(failure, ConnectionFailed | ConnectionLost | RequestTimedOut)
