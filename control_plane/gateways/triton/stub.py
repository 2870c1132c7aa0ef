"""The hot half of Triton: one request in, one answer or a stream of answers out, errors translated once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Any

import grpc.aio

from control_plane.domain.errors import DomainError, TimedOut
from control_plane.domain.tensors import Inference, Prediction
from control_plane.gateways.triton import codec
from control_plane.gateways.triton.channel import Channel, caller_cancelled
from control_plane.gateways.triton.failures import translate, unanswered
from control_plane.gateways.triton.stream import Stream

_LOOKS = 8  # in the idle time: how exactly it is kept


class TritonStub:
    """Satisfies `ports.Triton`.

    Units: a stream may take `Inference.timeout_s` in all. A model that answers nobody for `idle_timeout_s` loses its
    streams: when the process that executes a decoupled model is killed, Triton neither ends them nor reports an error.
    """

    def __init__(self, channel: Channel, idle_timeout_s: float = 30) -> None:
        self._channel = channel
        self._idle_timeout_s = idle_timeout_s
        self._streams: defaultdict[str, set[Stream]] = defaultdict(set)
        self._answered_at_s: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """Requests that somebody waits for; those whose callers left may still be at their end in Triton."""
        return self._channel.in_flight

    async def infer(self, inference: Inference) -> Prediction:
        self._channel.enter()
        try:
            answer = await unary(self._channel, inference)
            self._answered(inference.directory)
            return answer
        finally:
            self._channel.leave()

    async def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        """The final answer may carry no tensor: a model often says only then that it has finished.

        Closing the generator has the model end its answer.
        """
        self._channel.enter()
        stream: Stream | None = None
        try:
            stream = self._begin(inference)
            is_final = False
            while not is_final:
                answer = await stream.next()
                is_final = answer.is_final
                yield answer
        finally:
            self._channel.leave()
            if stream is not None:
                stream.leave()

    def answered_at_s(self, directory: str) -> float:
        return self._answered_at_s.get(directory, 0.0)

    def abandon(self, directory: str, because: DomainError) -> None:
        """End every stream of a model that will not answer."""
        for stream in list(self._streams[directory]):
            stream.abandon(because)

    def _begin(self, inference: Inference) -> Stream:
        directory, streams = inference.directory, self._streams[inference.directory]
        if not streams:
            self._answered(directory)  # before, it owed nobody an answer
        stream = Stream(self._channel.rpc, inference, lambda: self._answered(directory))
        streams.add(stream)
        stream.reading.add_done_callback(lambda _: streams.discard(stream))
        if self._timer is None:
            self._look_again()
        return stream

    def _answered(self, directory: str) -> None:
        self._answered_at_s[directory] = monotonic()

    def _look_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._idle_timeout_s / _LOOKS, self._look)

    def _look(self) -> None:
        """One timer for all streams: a text that waits for its turn is silent while its model works for others."""
        self._timer, late_s = None, monotonic() - self._idle_timeout_s
        for directory in [directory for directory, streams in self._streams.items() if not streams]:
            del self._streams[directory]
        for directory in [one for one in self._streams if self._answered_at_s[one] < late_s]:
            timeout_s = self._idle_timeout_s
            because = TimedOut(f"{directory!r} sent nothing for {timeout_s:g} s", timeout_s=timeout_s)
            for stream in [stream for stream in self._streams[directory] if not stream.has_unread]:
                stream.abandon(because)
        if self._streams:
            self._look_again()


async def unary(channel: Channel, inference: Inference) -> Prediction:
    """One request past the gate, for a server that does not serve yet.

    Who waits may be cancelled; the call is not, and ends by itself: cancelled calls crash Triton (see `Stream`).
    """
    try:
        call = channel.rpc.ModelInfer(codec.request(inference), timeout=inference.timeout_s)
        await _ended(call)
        reply = await call
    except grpc.aio.AioRpcError as error:
        raise translate(error, inference.directory) from error
    except asyncio.CancelledError:
        if caller_cancelled():
            raise
        raise unanswered() from None
    return codec.prediction(reply, inference)


def _ended(call: Any) -> asyncio.Future[None]:
    """To be waited for in place of a call, which would be cancelled with who waits for it."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(call: Any) -> None:
        if not ended.done():
            ended.set_result(None)

    call.add_done_callback(end)
    return ended
