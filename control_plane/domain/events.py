"""What happened, in the order it happened: one numbered stream that every protocol replays and follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Topic(StrEnum):
    """What an event is about."""

    JOB = "job"  # subject: the job's id
    MODEL = "model"  # subject: the model's name
    REVISION = "revision"  # subject: `name:N`
    HEALTH = "health"  # subject: `name:N`


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`kind` is a verb in the past, such as `loaded`, or `progress`; `payload` holds JSON values for any viewer."""

    topic: Topic
    subject: str
    kind: str
    payload: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """`seq` rises by the order of recording, over all topics; gaps are possible."""

    seq: int
    at: datetime
    topic: Topic
    subject: str
    kind: str
    payload: dict[str, object]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; empty topics mean all, `subject` None any."""

    topics: frozenset[Topic] = frozenset()
    subject: str | None = None

    def wants(self, event: Event) -> bool:
        return (not self.topics or event.topic in self.topics) and self.subject in (None, event.subject)
