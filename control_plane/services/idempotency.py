"""The same request twice is done once: who asks again under the same key is told what the first was told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from control_plane.domain.errors import Conflict, Unavailable
from control_plane.domain.idempotency import KEPT_FOR, Answer, Asked, KeptAnswer
from control_plane.ports import AnswerStore, Clock

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    """`fingerprint` is None until it is known that nothing is kept. `answer`: one that is kept."""

    fingerprint: str | None = None
    answer: Answer | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Idempotency:
    """Used by one event loop, and one server has a database for itself: who works is known in memory.

    Source: draft-ietf-httpapi-idempotency-key-header; "Idempotent requests" in Stripe's API reference, whose v2 does
    not keep failures either.
    """

    def __init__(self, store: AnswerStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._running: dict[str, _Running] = {}

    async def once(self, asked: Asked, work: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        """The answer, and whether it is one that was given before. `work` runs unless one is kept.

        Waits for the same request that runs already; if that one's answer is not kept, this one works in its place.
        Raises: Conflict for a key that stands for another request; whatever `work` raises.
        """
        while running := self._running.get(asked.scope):
            if running.fingerprint is not None:
                _check_same(running.fingerprint, asked)
            await running.over.wait()
            if running.answer is not None and running.fingerprint == asked.fingerprint:
                return running.answer, True
        running = self._running[asked.scope] = _Running()
        try:
            kept = await self._kept(asked)
            running.fingerprint = asked.fingerprint
            answer = kept or await self._worked(asked, work)
            running.answer = answer if answer.is_kept else None
            return answer, kept is not None
        finally:
            del self._running[asked.scope]
            running.over.set()

    async def forget_old(self) -> None:
        await self._store.delete_kept(self._clock.now() - KEPT_FOR)

    async def _kept(self, asked: Asked) -> Answer | None:
        kept = await self._store.get(asked.scope)
        if kept is None or kept.kept_at <= self._clock.now() - KEPT_FOR:
            return None
        _check_same(kept.asked.fingerprint, asked)
        return kept.answer

    async def _worked(self, asked: Asked, work: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await work()
        if answer.is_kept:
            try:
                await self._store.keep(KeptAnswer(asked, answer, self._clock.now()))
            except Unavailable as error:  # it is done all the same, and its caller waits to hear so
                log.error("an answer is not kept for its idempotency key", extra={"reason": error.message})
        return answer


def _check_same(fingerprint: str, asked: Asked) -> None:
    if fingerprint != asked.fingerprint:
        raise Conflict("the Idempotency-Key was used for another request; take a new key for a new request")
