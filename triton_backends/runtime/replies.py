"""Sends the responses of decoupled requests from one thread, which also watches for callers who have left.

Sending and asking whether a request was cancelled are round trips to the Triton process, a fraction of a millisecond
each: here they overlap the model's next step instead of delaying it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from triton_backends.runtime.triton import Array, Response, ResponseSender, error, log, triton

# How often a caller is asked for, and how many in a row: a stream stops within a few steps of its caller's leaving.
POLL_S = 0.02
POLL_COUNT = 8
# Responses not yet sent; a full queue slows the model down rather than growing.
BACKLOG = 256


@dataclass(eq=False, slots=True)
class Reply:
    """One decoupled request's way back to its caller."""

    sender: ResponseSender
    outputs: frozenset[str]
    pump: ReplyPump
    name: str = ""
    cancelled: bool = False

    def send(self, tensors: Mapping[str, Array], *, final: bool) -> None:
        self.pump.put(_Outgoing(self, tensors, None, final))

    def fail(self, message: str, code: str) -> None:
        """End the request with an error; `code` is a name of Triton's error codes."""
        self.pump.put(_Outgoing(self, {}, (message, code), True))

    def finish(self) -> None:
        """End the request without another response."""
        self.pump.put(_Outgoing(self, None, None, True))


@dataclass(slots=True)
class _Outgoing:
    reply: Reply
    tensors: Mapping[str, Array] | None
    error: tuple[str, str] | None
    final: bool


@dataclass
class ReplyPump:
    """The sending thread: `open` a reply for each request, `close` when the model is unloaded."""

    _queue: queue.Queue[_Outgoing | Reply | None] = field(default_factory=lambda: queue.Queue(BACKLOG))
    _open: deque[Reply] = field(default_factory=deque)
    _named: dict[str, Reply] = field(default_factory=dict)
    _polled_s: float = 0.0

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="replies", daemon=True)
        self._thread.start()

    def open(self, sender: ResponseSender, outputs: frozenset[str], name: str = "") -> Reply:
        """`name` is what `cancel` knows it by; without one it cannot be."""
        reply = Reply(sender, outputs, self, name)
        if name:
            self._named[name] = reply
        self._queue.put(reply)
        return reply

    def cancel(self, name: str) -> None:
        """Its caller wants no more of it. Nothing happens where it is over, or was never there."""
        reply = self._named.get(name)
        if reply is not None:
            reply.cancelled = True

    def put(self, outgoing: _Outgoing) -> None:
        self._queue.put(outgoing)

    def close(self) -> None:
        """Send what is waiting, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=POLL_S if self._open else None)
            except queue.Empty:
                self._poll()
                continue
            if item is None:
                return
            if isinstance(item, Reply):
                self._open.append(item)
            else:
                self._send(item)
            self._poll()

    def _poll(self) -> None:
        now_s = time.monotonic()
        if now_s - self._polled_s < POLL_S:
            return
        self._polled_s = now_s
        for _ in range(min(POLL_COUNT, len(self._open))):
            reply = self._open[0]
            self._open.rotate(-1)
            if not reply.cancelled and _has_left(reply.sender):
                reply.cancelled = True

    def _send(self, outgoing: _Outgoing) -> None:
        flags = triton().TRITONSERVER_RESPONSE_COMPLETE_FINAL if outgoing.final else 0
        try:
            if outgoing.tensors is None:
                outgoing.reply.sender.send(flags=flags)
            else:
                outgoing.reply.sender.send(_response(outgoing), flags=flags)
        except Exception as failure:
            outgoing.reply.cancelled = True
            log(f"a response could not be sent: {failure}")
            if outgoing.final:
                _end(outgoing.reply.sender)
        if outgoing.final:
            self._open.remove(outgoing.reply)
            if self._named.get(outgoing.reply.name) is outgoing.reply:
                del self._named[outgoing.reply.name]


def _response(outgoing: _Outgoing) -> Response:
    utils = triton()
    if outgoing.error is not None:
        return utils.InferenceResponse(error=error(*outgoing.error))
    wanted = outgoing.reply.outputs
    tensors = outgoing.tensors or {}
    return utils.InferenceResponse([utils.Tensor(name, tensors[name]) for name in tensors if name in wanted])


def _has_left(sender: ResponseSender) -> bool:
    try:
        return sender.is_cancelled()
    except Exception as failure:
        log(f"a caller could not be asked for: {failure}")
        return True


def _end(sender: ResponseSender) -> None:
    """Without a final flag the caller, and the model's unloading, would wait for ever."""
    try:
        sender.send(flags=triton().TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as failure:
        log(f"a request could not be ended: {failure}")
