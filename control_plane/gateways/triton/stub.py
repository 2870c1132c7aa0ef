"""The hot half of Triton: one request in, one answer or a stream of answers out, errors translated once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from control_plane.domain.errors import DomainError, EngineFailed, TimedOut
from control_plane.domain.tensors import Inference, Prediction
from control_plane.gateways.triton import codec
from control_plane.gateways.triton.channel import Channel, caller_cancelled
from control_plane.gateways.triton.failures import failure, translate, unanswered

# With it a model's own error inside a stream keeps its gRPC code; without, only text arrives.
_STREAM_METADATA = (("triton_grpc_error", "true"),)
_FAREWELL_S = 1
_LOOKS = 8  # in the idle time: how exactly it is kept
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class TritonStub:
    """Satisfies `ports.Triton`.

    Units: a stream may take `Inference.timeout_s` in all. A model that answers nobody for `idle_timeout_s` loses its
    streams: when the process that executes a decoupled model is killed, Triton neither ends them nor reports an error.
    """

    def __init__(self, channel: Channel, idle_timeout_s: float = 30) -> None:
        self._channel = channel
        self._idle_timeout_s = idle_timeout_s
        self._streams: defaultdict[str, set[_Stream]] = defaultdict(set)
        self._answered_at_s: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        return self._channel.in_flight

    async def infer(self, inference: Inference) -> Prediction:
        self._channel.enter()
        try:
            answer = await unary(self._channel, inference)
            self._answered_at_s[inference.directory] = monotonic()
            return answer
        finally:
            self._channel.leave()

    async def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        """The final answer may carry no tensor: a model often says only then that it has finished."""
        channel, directory = self._channel, inference.directory
        channel.enter()
        stream: _Stream | None = None
        try:
            call = channel.rpc.ModelStreamInfer(timeout=inference.timeout_s, metadata=_STREAM_METADATA)
            stream = self._begin(directory, call)
            await _send(stream, inference)
            is_final = False
            while not is_final:
                answer = await _next(stream, inference)
                self._answered_at_s[directory] = monotonic()
                is_final = answer.is_final
                yield answer
        finally:
            if stream is not None:
                self._streams[directory].discard(stream)
                stream.call.cancel()
            channel.leave()

    def answered_at_s(self, directory: str) -> float:
        return self._answered_at_s.get(directory, 0.0)

    def abandon(self, directory: str, because: DomainError) -> None:
        """End every stream of a model that will not answer."""
        for stream in self._streams[directory]:
            stream.fault = because
            stream.call.cancel()
            if stream.sending is not None:
                stream.sending.reschedule(0)  # now

    def _begin(self, directory: str, call: Any) -> _Stream:
        streams, stream = self._streams[directory], _Stream(call)
        if not streams:
            self._answered_at_s[directory] = monotonic()  # before, it owed nobody an answer
        streams.add(stream)
        if self._timer is None:
            self._look_again()
        return stream

    def _look_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._idle_timeout_s / _LOOKS, self._look)

    def _look(self) -> None:
        """One timer for all streams: a text that waits for its turn is silent while its model works for others."""
        self._timer, late_s = None, monotonic() - self._idle_timeout_s
        for directory in [directory for directory, streams in self._streams.items() if not streams]:
            del self._streams[directory]
        for directory in self._streams:
            if self._answered_at_s[directory] < late_s:
                timeout_s = self._idle_timeout_s
                self.abandon(
                    directory, TimedOut(f"{directory!r} sent nothing for {timeout_s:g} s", timeout_s=timeout_s)
                )
        if self._streams:
            self._look_again()


@dataclass(eq=False, slots=True)
class _Stream:
    """A stream under way. `fault` is why we cancelled the call, where it was us; `sending` until it has been asked."""

    call: Any
    fault: DomainError | None = None
    sending: asyncio.Timeout | None = None


async def _next(stream: _Stream, inference: Inference) -> Prediction:
    with _translated(stream, inference):
        reply = await stream.call.read()
        if reply is _EOF:
            raise EngineFailed(f"the stream of {inference.directory!r} ended without a final answer")
        if reply.error_message:
            raise failure(reply.error_message, None, inference.directory)
        answer = codec.piece(reply.infer_response)
        if answer.is_final:
            await _farewell(stream.call)
        return answer


async def unary(channel: Channel, inference: Inference) -> Prediction:
    """One request past the gate, for a server that does not serve yet."""
    try:
        reply = await channel.rpc.ModelInfer(codec.request(inference), timeout=inference.timeout_s)
    except grpc.aio.AioRpcError as error:
        raise translate(error, inference.directory) from error
    except asyncio.CancelledError:
        if caller_cancelled():
            raise
        raise unanswered() from None
    return codec.prediction(reply, inference)


async def _send(stream: _Stream, inference: Inference) -> None:
    with _translated(stream, inference):
        # gRPC waits for ever for the first words of a call that was cancelled before it said them.
        async with asyncio.timeout(None) as stream.sending:
            await stream.call.write(codec.stream_request(inference))
            await stream.call.done_writing()
        stream.sending = None


async def _farewell(call: Any) -> None:
    """Let Triton end the call itself: a cancel that crosses its last message may count as a cancelled request."""
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await call.read()
    except TimeoutError:
        pass  # the caller's `cancel` ends it


@contextmanager
def _translated(stream: _Stream, inference: Inference) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise (stream.fault or translate(error, inference.directory)) from error
    except TimeoutError:
        raise (stream.fault or unanswered()) from None
    except asyncio.CancelledError:
        if caller_cancelled():
            raise
        raise (stream.fault or unanswered()) from None
