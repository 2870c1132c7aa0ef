"""Tokens told to who listens to a model while others are generating on it (T-WS-03, D-11)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from control_plane.domain.access import Principal, Role
from control_plane.domain.models import Revision

WAITING_MAX = 10_000  # tokens that wait for one listener: more than two of the longest answers


class Listening:
    """What one listener has not read yet. An async iterator of token texts, several at once where they came so.

    It ends when it is closed, and when its reader has fallen too far behind: then `was_too_slow`.
    """

    def __init__(self, feed: TokenFeed, principal: Principal, model: str, revision: int | None) -> None:
        self._feed, self._principal, self._model, self._revision = feed, principal, model, revision
        self._hears_all = principal.role.covers(Role.ADMIN)
        self._waiting: deque[Sequence[str]] = deque()
        self._count, self._news, self._is_closed = 0, asyncio.Event(), False
        self.was_too_slow = False

    def hears(self, revision: Revision, caller: str) -> bool:
        """Callers without credentials are told apart by their addresses, which are their ids."""
        return (
            revision.model == self._model
            and self._revision in (None, revision.number)
            and (self._hears_all or caller == self._principal.id)
        )

    def tell(self, texts: Sequence[str]) -> None:
        """Never waits."""
        self._count += len(texts)
        if self._count > WAITING_MAX:
            self.was_too_slow = True
            self.close()
            return
        self._waiting.append(texts)
        self._news.set()

    def close(self) -> None:
        self._is_closed = True
        self._waiting.clear()
        self._feed.forget(self)
        self._news.set()

    def __aiter__(self) -> Listening:
        return self

    async def __anext__(self) -> Sequence[str]:
        while not self._waiting and not self._is_closed:
            self._news.clear()
            await self._news.wait()
        if self._is_closed:
            raise StopAsyncIteration
        texts = self._waiting.popleft()
        self._count -= len(texts)
        return texts


class TokenFeed:
    """`listening` is empty nearly always, and looking at it is all that a generation pays then."""

    def __init__(self) -> None:
        self.listening: set[Listening] = set()

    def listen(self, model: str, principal: Principal, revision: int | None = None) -> Listening:
        """What the principal's own requests generate on the model from now on, an admin's everybody's. To be closed.

        `revision`: its number; None means any of the model's.
        """
        listener = Listening(self, principal, model, revision)
        self.listening.add(listener)
        return listener

    def publish(self, revision: Revision, caller: str, texts: Sequence[str]) -> None:
        for listener in tuple(self.listening):
            if listener.hears(revision, caller):
                listener.tell(texts)

    def forget(self, listener: Listening) -> None:
        self.listening.discard(listener)
