"""The hot half of Triton: one request in, one answer or a stream of answers out, errors translated once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from control_plane.domain.errors import EngineFailed, TimedOut
from control_plane.domain.tensors import Inference, Prediction
from control_plane.gateways.triton import codec
from control_plane.gateways.triton.channel import Channel
from control_plane.gateways.triton.failures import failure, translate, unanswered

# With it a model's own error inside a stream keeps its gRPC code; without, only text arrives.
_STREAM_METADATA = (("triton_grpc_error", "true"),)
_FAREWELL_S = 1
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class TritonStub:
    """Satisfies `ports.Triton`.

    Units: a stream may take `Inference.timeout_s` in all, and `idle_timeout_s` between two answers: when the process
    that executes a decoupled model is killed, Triton neither ends the stream nor reports an error.
    """

    def __init__(self, channel: Channel, idle_timeout_s: float = 30) -> None:
        self._channel = channel
        self._idle_timeout_s = idle_timeout_s

    @property
    def in_flight(self) -> int:
        return self._channel.in_flight

    async def infer(self, inference: Inference) -> Prediction:
        self._channel.enter()
        try:
            return await unary(self._channel, inference)
        finally:
            self._channel.leave()

    async def stream(self, inference: Inference) -> AsyncGenerator[Prediction, None]:
        """The final answer may carry no tensor: a model often says only then that it has finished."""
        channel = self._channel
        channel.enter()
        call: Any = None
        try:
            call = channel.rpc.ModelStreamInfer(timeout=inference.timeout_s, metadata=_STREAM_METADATA)
            await _send(call, inference)
            is_final = False
            while not is_final:
                answer = await self._next(call, inference)
                is_final = answer.is_final
                yield answer
        finally:
            if call is not None:
                call.cancel()
            channel.leave()

    async def _next(self, call: Any, inference: Inference) -> Prediction:
        with _translated(inference):
            reply = await self._read(call, inference)
            if reply is _EOF:
                raise EngineFailed(f"the stream of {inference.directory!r} ended without a final answer")
            if reply.error_message:
                raise failure(reply.error_message, None, inference.directory)
            answer = codec.piece(reply.infer_response)
            if answer.is_final:
                await _farewell(call)
            return answer

    async def _read(self, call: Any, inference: Inference) -> Any:
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                return await call.read()
        except TimeoutError as error:
            raise TimedOut(
                f"{inference.directory!r} sent nothing for {self._idle_timeout_s:g} s", timeout_s=self._idle_timeout_s
            ) from error


async def unary(channel: Channel, inference: Inference) -> Prediction:
    """One request past the gate, for a server that does not serve yet."""
    try:
        reply = await channel.rpc.ModelInfer(codec.request(inference), timeout=inference.timeout_s)
    except grpc.aio.AioRpcError as error:
        raise translate(error, inference.directory) from error
    except asyncio.CancelledError:
        if _caller_cancelled():
            raise
        raise unanswered() from None
    return codec.prediction(reply, inference)


async def _send(call: Any, inference: Inference) -> None:
    with _translated(inference):
        await call.write(codec.stream_request(inference))
        await call.done_writing()


async def _farewell(call: Any) -> None:
    """Let Triton end the call itself: a cancel that crosses its last message may count as a cancelled request."""
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await call.read()
    except TimeoutError:
        pass  # the caller's `cancel` ends it


@contextmanager
def _translated(inference: Inference) -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise translate(error, inference.directory) from error
    except asyncio.CancelledError:
        if _caller_cancelled():
            raise
        raise unanswered() from None


def _caller_cancelled() -> bool:
    """Grpc also says CancelledError when its channel is closed; only a cancelled task may end by it."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
