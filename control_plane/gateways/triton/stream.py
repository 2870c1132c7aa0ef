"""One request on a gRPC stream of its own, and its answers: to the last, or until nobody wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio

from control_plane.domain.errors import DomainError, EngineFailed
from control_plane.domain.tensors import Inference, Prediction
from control_plane.gateways.triton import codec
from control_plane.gateways.triton.channel import caller_cancelled
from control_plane.gateways.triton.failures import failure, translate, unanswered

# With it a model's own error inside a stream keeps its gRPC code; without, only text arrives.
_METADATA = (("triton_grpc_error", "true"),)
_UNREAD_MAX = 64  # answers; then Triton keeps what follows
_FAREWELL_S = 5  # a step of a large model
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class Stream:
    """`rpc`: Triton's methods. `on_answer` is called for each answer. `reading` is done when the call is.

    A task of its own reads the call, so that who waits for an answer may be cancelled and the call is not. A call that
    is cancelled while an answer is on its way crashes Triton once in some thousand times, so a model that knows how is
    asked to end its answer instead.
    Source: triton-inference-server/server, pull requests 7840 and 8078; mended in Triton 2.57.
    """

    def __init__(self, rpc: Any, inference: Inference, on_answer: Callable[[], None]) -> None:
        self._inference, self._on_answer = inference, on_answer
        self._cancel_id = uuid4().hex if inference.takes_cancel else ""
        self._fault: DomainError | None = None
        self._sending: asyncio.Timeout | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._is_sent = self._is_final = self._is_left = self._is_ended = False
        self._unread: asyncio.Queue[Prediction | None] = asyncio.Queue(_UNREAD_MAX)  # None: the reading has ended
        self._call = rpc.ModelStreamInfer(timeout=inference.timeout_s, metadata=_METADATA)
        self.reading = asyncio.create_task(self._read())
        self.reading.add_done_callback(_heard)

    @property
    def has_unread(self) -> bool:
        """Whether the caller is waited for, and not the model."""
        return not self._unread.empty()

    async def next(self) -> Prediction:
        """Raises: what the request fails with."""
        answer = await self._unread.get()
        if answer is None:
            await self.reading
            raise unanswered()
        return answer

    def leave(self) -> None:
        """No more answers are wanted."""
        self._is_left = True
        while self.has_unread:
            self._unread.get_nowait()  # the reading may wait for room
        if self._is_final or self.reading.done():
            return
        if not self._cancel_id:
            self._end()
            return
        asyncio.get_running_loop().call_later(_FAREWELL_S, self._end)
        if self._is_sent:
            self._cancelling = asyncio.create_task(self._cancel())

    def abandon(self, because: DomainError) -> None:
        """The model will not answer: fail with this."""
        self._fault = because
        self._end()

    def _end(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._call.cancel()
        if self._sending is not None:
            self._sending.reschedule(0)  # now

    async def _read(self) -> None:
        try:
            with self._translated():
                await self._send()
                while not self._is_final:
                    await self._put(await self._answer())
            await self._farewell()
        finally:
            self._call.cancel()
            await self._put(None)

    async def _send(self) -> None:
        if self._is_ended:
            raise self._fault or unanswered()
        # gRPC waits for ever for the first words of a call that was cancelled before it said them.
        try:
            async with asyncio.timeout(None) as self._sending:
                await self._call.write(codec.stream_request(self._inference, self._cancel_id))
                if not self._cancel_id:
                    await self._call.done_writing()
        finally:
            self._sending = None
        self._is_sent = True
        if self._is_left:
            await self._cancel()

    async def _answer(self) -> Prediction:
        reply = await self._call.read()
        if reply is _EOF:
            raise EngineFailed(f"the stream of {self._inference.directory!r} ended without a final answer")
        if reply.error_message:
            raise failure(reply.error_message, None, self._inference.directory)
        self._on_answer()
        answer = codec.piece(reply.infer_response)
        self._is_final = answer.is_final
        return answer

    async def _put(self, answer: Prediction | None) -> None:
        if not self._is_left:
            await self._unread.put(answer)

    async def _cancel(self) -> None:
        """The answer to this has no tensor and is final; the one that is cancelled ends before it or after it."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it ended by itself
            await self._call.write(codec.cancel_request(self._inference, self._cancel_id))
            await self._call.done_writing()

    async def _farewell(self) -> None:
        """Let Triton end the call itself: a cancel that crosses its last message may count as a cancelled request."""
        with suppress(grpc.aio.AioRpcError, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await (self._call.done_writing() if self._cancelling is None else self._cancelling)
                while await self._call.read() is not _EOF:
                    pass

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise (self._fault or translate(error, self._inference.directory)) from error
        except TimeoutError:
            raise (self._fault or unanswered()) from None
        except asyncio.CancelledError:
            if caller_cancelled():
                raise
            raise (self._fault or unanswered()) from None


def _heard(reading: asyncio.Task[None]) -> None:
    """What a stream failed with after its caller left is nobody's any more; asyncio would log it."""
    if not reading.cancelled():
        reading.exception()
