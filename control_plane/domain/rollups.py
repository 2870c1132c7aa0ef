"""What models did in each second and minute: counts and sums that can be added up, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import floor

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.histogram import bucket, percentile_s

SECOND_S, MINUTE_S = 1, 60
DEFAULT_PERIOD = timedelta(hours=24)
SECONDS_KEPT_S, MINUTES_KEPT_S = 3600, 7 * 86_400  # C-PERSIST-01
_KEPT_LONGER_S = MINUTE_S  # a second may not vanish while a question that counts on it is on its way


@dataclass(slots=True)
class Work:
    """Inferences of a stretch of time; a caller who leaves early is a success. Touched by one event loop only.

    `durations` counts the successes by fine bucket (domain/histogram) and `took_s` sums them. `generating_s` sums the
    time of all inferences that gave tokens. `queue_us` and `queued` are Triton's: time in its queue, and how many
    requests spent it.
    """

    successes: int = 0
    failures: int = 0
    tokens: int = 0
    took_s: float = 0.0
    generating_s: float = 0.0
    queue_us: int = 0
    queued: int = 0
    durations: dict[int, int] = field(default_factory=dict)

    def succeeded(self, took_s: float, tokens: int) -> None:
        self.successes += 1
        self.took_s += took_s
        if tokens:
            self.tokens += tokens
            self.generating_s += took_s
        index, counts = bucket(took_s), self.durations
        counts[index] = counts.get(index, 0) + 1

    def failed(self, took_s: float, tokens: int) -> None:
        self.failures += 1
        if tokens:
            self.tokens += tokens
            self.generating_s += took_s

    def add(self, other: Work) -> None:
        self.successes += other.successes
        self.failures += other.failures
        self.tokens += other.tokens
        self.took_s += other.took_s
        self.generating_s += other.generating_s
        self.queue_us += other.queue_us
        self.queued += other.queued
        self.add_durations(other.durations)

    def add_durations(self, counts: Mapping[int, int]) -> None:
        for index, count in counts.items():
            self.durations[index] = self.durations.get(index, 0) + count

    @property
    def count(self) -> int:
        return self.successes + self.failures

    @property
    def success_rate(self) -> float | None:
        return self.successes / self.count if self.count else None

    @property
    def error_rate(self) -> float | None:
        return self.failures / self.count if self.count else None

    @property
    def average_s(self) -> float | None:
        return self.took_s / self.successes if self.successes else None

    @property
    def tokens_per_s(self) -> float | None:
        return self.tokens / self.generating_s if self.generating_s else None

    @property
    def average_queue_s(self) -> float | None:
        return self.queue_us / self.queued / 1e6 if self.queued else None

    def percentile_s(self, percent: int) -> float | None:
        return percentile_s(self.durations, percent)


@dataclass(frozen=True, slots=True)
class Rollup:
    """What one revision did in the second that begins at `starts_at_s`. Units: epoch seconds."""

    model: str
    revision: int
    starts_at_s: int
    work: Work


@dataclass(frozen=True, slots=True)
class Kept:
    """From when on there are rollups: each second of the last hour, each minute of the last 7 days."""

    seconds_from_s: int
    minutes_from_s: int


def kept_for_questions(now_s: float) -> Kept:
    """Minutes answer for what lies before `seconds_from_s`, which is the start of a minute."""
    return Kept(minute_of(now_s - SECONDS_KEPT_S), minute_of(now_s - MINUTES_KEPT_S))


def kept_in_store(now_s: float) -> Kept:
    kept = kept_for_questions(now_s)
    return Kept(kept.seconds_from_s - _KEPT_LONGER_S, kept.minutes_from_s - _KEPT_LONGER_S)


def minute_of(at_s: float) -> int:
    return int(at_s // MINUTE_S) * MINUTE_S


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` to `end`, both aware and within it."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise InvalidRequest("start_time must not be after end_time", field="start_time")

    def rollups(self, not_before: datetime, now_s: float) -> tuple[range, range]:
        """Where the minutes and where the seconds begin that tell of it; one in which it begins or ends is all of it.

        Units: epoch seconds.
        """
        kept = kept_for_questions(now_s)
        start_s = floor(max(self.start, not_before).timestamp())
        end_s = floor(self.end.timestamp()) + SECOND_S
        minutes = range(max(minute_of(start_s), kept.minutes_from_s), min(end_s, kept.seconds_from_s))
        return minutes, range(max(start_s, kept.seconds_from_s), end_s)


def period(start: datetime | None, end: datetime | None, now: datetime) -> Period:
    """What is left out: the end is now, the start a day before the end. Raises InvalidRequest when it is reversed."""
    end = end or now
    if start is None:
        is_first_day = end - datetime.min.replace(tzinfo=UTC) < DEFAULT_PERIOD
        start = datetime.min.replace(tzinfo=UTC) if is_first_day else end - DEFAULT_PERIOD
    return Period(start, end)
