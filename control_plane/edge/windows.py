"""What callers have asked in the last seconds: each time of it where the limit is small, counts where it is not.

Written by hand: the libraries for it cost 6 to 10 microseconds a request, and in view of many requests far more.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import Protocol

from control_plane.domain.limits import Quota, Rate

LOG_LIMIT_MAX = 10_000  # above it the log of one busy caller takes more than 320 KB
_TWICE = (1, 2)  # at each request one caller more may go than can come, so that idle ones become fewer
_AFTERWARDS_S = 0.001  # at the very moment that a count has faded to the limit, nothing is free yet


class Window(Protocol):
    """A sliding window for each caller of one rate. Times are seconds of one clock, which never goes back."""

    rate: Rate

    def take(self, who: str, at_s: float) -> Quota | None:
        """Count a request; None where there is nothing left."""
        ...

    def give_back(self, who: str, at_s: float) -> None:
        """Forget the request that was taken at `at_s`."""
        ...

    def left(self, who: str, now_s: float) -> Quota: ...

    def wait_s(self, who: str, now_s: float) -> float:
        """When the next request has room, for a caller to whom there is nothing left."""
        ...


def window_of(rate: Rate) -> Window:
    return WindowLog(rate) if rate.limit <= LOG_LIMIT_MAX else WindowCounter(rate)


class WindowLog:
    """Exact: the time of every request in view."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._limit, self._window_s = rate.limit, rate.window_s
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()  # who has not asked for the longest time is first

    @property
    def callers(self) -> int:
        """Who is kept in mind."""
        return len(self._hits)

    def take(self, who: str, at_s: float) -> Quota | None:
        hits = self._in_view(who, at_s)
        if hits is None:
            hits = self._hits[who] = deque()
        else:
            self._hits.move_to_end(who)
        used = len(hits) + 1
        if used > self._limit:
            return None
        hits.append(at_s)
        self._evict(at_s - self._window_s)
        return Quota(self._limit, self._limit - used, math.ceil(at_s + self._window_s))

    def give_back(self, who: str, at_s: float) -> None:
        hits = self._hits.get(who)
        if hits and hits[-1] == at_s:
            hits.pop()
        elif hits and at_s in hits:
            hits.remove(at_s)

    def left(self, who: str, now_s: float) -> Quota:
        hits = self._in_view(who, now_s)
        if not hits:
            return Quota(self._limit, self._limit, math.ceil(now_s))
        return Quota(self._limit, self._limit - len(hits), math.ceil(hits[-1] + self._window_s))

    def wait_s(self, who: str, now_s: float) -> float:
        hits = self._in_view(who, now_s)
        return hits[0] + self._window_s - now_s if hits else 0.0

    def _in_view(self, who: str, now_s: float) -> deque[float] | None:
        hits = self._hits.get(who)
        if hits is not None:
            expired_s = now_s - self._window_s
            while hits and hits[0] <= expired_s:
                hits.popleft()
        return hits

    def _evict(self, expired_s: float) -> None:
        for _ in _TWICE:
            idle = next(iter(self._hits.values()))
            if idle and idle[-1] > expired_s:
                return
            self._hits.popitem(last=False)


class _Counts:
    """The requests of one caller in the window with this number, and in the one before it."""

    __slots__ = ("before", "now", "number")

    def __init__(self, number: float) -> None:
        self.number, self.now, self.before = number, 0, 0

    def move_to(self, number: float) -> None:
        if self.number != number:
            self.before = self.now if self.number == number - 1 else 0
            self.number, self.now = number, 0


class WindowCounter:
    """Two counts a caller: the window before counts for the part of it that is still in view.

    Off by as much as that window's requests were unevenly spread.
    """

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._limit, self._window_s = rate.limit, rate.window_s
        self._counts: OrderedDict[str, _Counts] = OrderedDict()  # who has not asked for the longest time is first

    @property
    def callers(self) -> int:
        """Who is kept in mind."""
        return len(self._counts)

    def take(self, who: str, at_s: float) -> Quota | None:
        number, into_s = divmod(at_s, self._window_s)
        counts = self._counts.get(who)
        if counts is None:
            counts = self._counts[who] = _Counts(number)
        else:
            self._counts.move_to_end(who)
            counts.move_to(number)
        used = self._used(counts, into_s) + 1
        if used > self._limit:
            return None
        counts.now += 1
        self._evict(number - 1)
        return Quota(self._limit, self._limit - used, self._reset_at_s(counts, at_s))

    def give_back(self, who: str, at_s: float) -> None:
        counts, number = self._counts.get(who), at_s // self._window_s
        if counts is None:
            return
        if counts.number == number:
            counts.now = max(0, counts.now - 1)
        elif counts.number == number + 1:
            counts.before = max(0, counts.before - 1)

    def left(self, who: str, now_s: float) -> Quota:
        number, into_s = divmod(now_s, self._window_s)
        counts = self._counts.get(who) or _Counts(number)
        counts.move_to(number)
        return Quota(self._limit, self._limit - self._used(counts, into_s), self._reset_at_s(counts, now_s))

    def wait_s(self, who: str, now_s: float) -> float:
        number, into_s = divmod(now_s, self._window_s)
        counts = self._counts.get(who) or _Counts(number)
        counts.move_to(number)
        room = self._limit - counts.now
        if room <= 0:
            return self._window_s - into_s + _AFTERWARDS_S
        faded_s = self._window_s * (1 - room / counts.before) if counts.before else 0.0
        return max(0.0, faded_s - into_s) + _AFTERWARDS_S

    def _used(self, counts: _Counts, into_s: float) -> int:
        return counts.now + int(counts.before * (1 - into_s / self._window_s))

    def _reset_at_s(self, counts: _Counts, now_s: float) -> int:
        if counts.now:
            return math.ceil((counts.number + 2) * self._window_s)
        return math.ceil((counts.number + 1) * self._window_s if counts.before else now_s)

    def _evict(self, oldest: float) -> None:
        for _ in _TWICE:
            if next(iter(self._counts.values())).number >= oldest:
                return
            self._counts.popitem(last=False)
