"""The line to one Triton: a gRPC channel per life of the server, a gate, and a count of what is in flight."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2_grpc

from control_plane.domain.errors import Unavailable
from control_plane.gateways.triton.failures import RETRY_AFTER_S, translate, unanswered

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # grpc's own limit of 4 MiB would refuse tensors that Triton sends
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),  # a new life must not inherit the back-off of the old one
    ("grpc.enable_http_proxy", 0),  # never through a proxy that the environment names
)
_GRACE_S = 2
QUESTION_TIMEOUT_S = 10


class Channel:
    """Requests pass while the gate is open; `in_flight` counts them so that a server can be drained."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._refusal: str | None = "Triton has not started yet"
        self._idle: asyncio.Event | None = None
        self._channel: grpc.aio.Channel | None = None
        self._rpc: Any = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def rpc(self) -> Any:
        """Triton's methods as callables of messages. Raises Unavailable before the first connect."""
        if self._rpc is None:
            raise Unavailable("Triton has not started yet", retry_after_seconds=RETRY_AFTER_S)
        return self._rpc

    def connect(self, address: str) -> None:
        """Point at a server; calls on the line before it may end, but no new one begins there."""
        self._retire()
        self._channel = grpc.aio.insecure_channel(address, _OPTIONS)
        self._rpc = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def open_gate(self) -> None:
        self._refusal = None

    def close_gate(self, reason: str) -> None:
        """Refuse what comes from now on; what is in flight goes on."""
        self._refusal = reason

    def enter(self) -> None:
        if self._refusal is not None:
            raise Unavailable(self._refusal, retry_after_seconds=RETRY_AFTER_S)
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
        if self._idle is not None and self.in_flight == 0:
            self._idle.set()

    async def ask(
        self,
        method: str,
        message: Any,
        timeout_s: float = QUESTION_TIMEOUT_S,
        *,
        directory: str = "",
        waits: bool = False,
    ) -> Any:
        """A question of the slow half, past the gate; what its failure means is raised.

        `directory` is the model that it is about; `waits`: until a server is there.
        """
        try:
            return await getattr(self.rpc, method)(message, timeout=timeout_s, wait_for_ready=waits)
        except grpc.aio.AioRpcError as error:
            raise translate(error, directory) from error
        except asyncio.CancelledError:
            if caller_cancelled():
                raise
            raise unanswered() from None

    async def drained(self, timeout_s: float) -> bool:
        """Whether everything in flight ended in time."""
        if self.in_flight == 0:
            return True
        self._idle = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        finally:
            self._idle = None
        return True

    async def close(self) -> None:
        self._retire()
        self._rpc = None
        await asyncio.gather(*self._closing)

    def _retire(self) -> None:
        if self._channel is not None:
            task = asyncio.create_task(self._channel.close(_GRACE_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._channel = None


def caller_cancelled() -> bool:
    """Grpc also says CancelledError when its channel is closed; only a cancelled task may end by it."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
