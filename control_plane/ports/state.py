"""What is kept in the database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Protocol

from control_plane.domain.access import ApiKey
from control_plane.domain.events import Event, EventFilter, NewEvent
from control_plane.domain.idempotency import KeptAnswer
from control_plane.domain.jobs import Job, JobFilter
from control_plane.domain.models import ModelRecord
from control_plane.domain.paging import Page, Paged
from control_plane.domain.rollups import Kept, Rollup, Work


class Database(Protocol):
    async def check(self) -> None:
        """Raises Unavailable when the database does not answer."""


class ModelStore(Protocol):
    """Records of models: aliases, desired state. Every method is one transaction."""

    async def list(self) -> Sequence[ModelRecord]: ...

    async def create(self, record: ModelRecord) -> None:
        """Raises Conflict if the name exists."""

    async def next_revision(self, name: str) -> int:
        """Reserve a revision number; it is never given again, even if nothing is published under it.

        The first call for an unknown name reserves 1.
        """

    async def set_alias(self, name: str, alias: str, revision: int, at: datetime) -> None: ...

    async def set_desired(self, name: str, revisions: frozenset[int], at: datetime) -> None: ...

    async def delete(self, name: str) -> None:
        """Forget the record; its revision numbers stay used."""


class KeyStore(Protocol):
    async def add(self, key: ApiKey) -> None: ...

    async def list(self) -> Sequence[ApiKey]: ...

    async def by_digest(self, digest: str) -> ApiKey | None: ...

    async def delete(self, key_id: str) -> bool:
        """Whether there was such a key."""


class AnswerStore(Protocol):
    """Answers that are given again for an idempotency key. Every method is one transaction."""

    async def get(self, scope: str) -> KeptAnswer | None: ...

    async def keep(self, kept: KeptAnswer) -> None:
        """In place of what was kept for its scope before."""

    async def delete_kept(self, before: datetime) -> None:
        """Forget what was kept until then."""


class MetricStore(Protocol):
    """Rollups of what models did."""

    async def record(self, added: Sequence[Rollup], kept: Kept) -> None:
        """Add these seconds to what is known of them and of their minutes; forget what is older than `kept`.

        One transaction.
        """

    async def total(self, model: str, revision: int | None, minutes: range, seconds: range) -> Work:
        """What a revision (None: all of the model) did in the minutes and in the seconds that begin in these spans."""


class JobStore(Protocol):
    """Records of jobs. Every method is one transaction."""

    async def create(self, job: Job, event: NewEvent) -> None: ...

    async def get(self, job_id: str) -> Job | None: ...

    async def list(self, wanted: JobFilter, page: Page) -> Paged[Job]:
        """Newest first."""

    async def unfinished(self) -> Sequence[Job]:
        """Queued and running, oldest first."""

    async def advance(self, job: Job, event: NewEvent) -> bool:
        """Record how far it is, and the event that says so, together. False, and nothing recorded, once it is over."""

    async def delete_finished(self, before: datetime) -> Sequence[str]:
        """Forget jobs that ended before then, and their events; the ids of them."""


class Events(Protocol):
    """The stream of what happened."""

    def publish(self, event: NewEvent) -> None:
        """Recorded soon, in the order of calls, and handed to who watches; never waits."""

    def watch(self, wanted: EventFilter, after: int | None = None) -> AsyncGenerator[Event, None]:
        """Those recorded after the sequence number `after` (None: only what comes now), then each as it comes.

        A slow reader slows nobody and misses nothing that is still kept. Ends when the server stops.
        """
