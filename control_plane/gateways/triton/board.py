"""The state of a Triton server, the gate that follows it, and those who wait for it to change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from control_plane.domain.errors import TimedOut
from control_plane.domain.triton import TritonState, TritonStatus
from control_plane.gateways.triton.channel import Channel
from control_plane.ports import Clock

log = logging.getLogger(__name__)
Predicate = Callable[[TritonStatus], bool]


class StateBoard:
    """`status` is what the server is doing now; every change wakes the waiters it satisfies.

    The channel's gate is open in the states that serve, and in no other.
    """

    def __init__(self, repository: str, clock: Clock, channel: Channel) -> None:
        self._clock, self._channel = clock, channel
        self._waiters: list[tuple[Predicate, asyncio.Future[TritonStatus]]] = []
        self.status = TritonStatus(TritonState.STOPPED, clock.now(), repository)

    def enter(self, state: TritonState, reason: str | None = None, *, has_ended: bool = False) -> None:
        """`has_ended`: a life is over, and the next one will be a restart."""
        if state.serves:
            self._channel.open_gate()
        else:
            self._channel.close_gate(f"Triton does not serve just now ({state.value})")
        before = self.status
        if (state, reason) == (before.state, before.reason) and not has_ended:
            return
        log.info("triton is %s", state.value, extra={"triton": state.value, "reason": reason})
        restarts = before.restarts + has_ended
        self._post(replace(before, state=state, since=self._clock.now(), reason=reason, restarts=restarts))

    def identify(self, version: str, repository: str) -> None:
        """What is learned of a server while its state stays."""
        self._post(replace(self.status, version=version, repository=repository))

    async def wait_until(self, predicate: Predicate, timeout_s: float) -> TritonStatus:
        """The first status, from now on, that satisfies. Raises TimedOut saying where it stands instead."""
        if predicate(self.status):
            return self.status
        waiter: tuple[Predicate, asyncio.Future[TritonStatus]] = (predicate, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter[1]
        except TimeoutError as error:
            reason = f": {self.status.reason}" if self.status.reason else ""
            raise TimedOut(
                f"after {timeout_s:g} s Triton is {self.status.state.value}{reason}", timeout_s=timeout_s
            ) from error
        finally:
            self._waiters.remove(waiter)

    def _post(self, status: TritonStatus) -> None:
        self.status = status
        for predicate, future in self._waiters:
            if not future.done() and predicate(status):
                future.set_result(status)
