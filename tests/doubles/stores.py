"""The stores without a database; the suites in tests/integration/state hold them to what the real ones do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from control_plane.domain.access import ApiKey
from control_plane.domain.errors import Conflict, DomainError, ModelNotFound
from control_plane.domain.idempotency import KeptAnswer
from control_plane.domain.models import ModelRecord
from control_plane.domain.rollups import Kept, Rollup, Work, minute_of


class InMemoryModelStore:
    def __init__(self) -> None:
        self._records: dict[str, ModelRecord] = {}
        self._last: dict[str, int] = {}

    async def list(self) -> Sequence[ModelRecord]:
        return [self._records[name] for name in sorted(self._records)]

    async def create(self, record: ModelRecord) -> None:
        if record.name in self._records:
            raise Conflict(f"a model named {record.name!r} exists already")
        self._records[record.name] = record

    async def next_revision(self, name: str) -> int:
        self._last[name] = self._last.get(name, 0) + 1
        return self._last[name]

    async def set_alias(self, name: str, alias: str, revision: int, at: datetime) -> None:
        record = self._record(name)
        self._records[name] = replace(record, aliases={**record.aliases, alias: revision}, updated_at=at)

    async def set_desired(self, name: str, revisions: frozenset[int], at: datetime) -> None:
        self._records[name] = replace(self._record(name), desired=revisions, updated_at=at)

    async def delete(self, name: str) -> None:
        self._records.pop(name, None)

    def _record(self, name: str) -> ModelRecord:
        if name not in self._records:
            raise ModelNotFound(f"no model named {name!r}")
        return self._records[name]


class InMemoryKeyStore:
    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    async def add(self, key: ApiKey) -> None:
        if key.id in self._keys or key.digest in {known.digest for known in self._keys.values()}:
            raise Conflict("such an API key exists already")
        self._keys[key.id] = key

    async def list(self) -> Sequence[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    async def by_digest(self, digest: str) -> ApiKey | None:
        return next((key for key in self._keys.values() if key.digest == digest), None)

    async def delete(self, key_id: str) -> bool:
        return self._keys.pop(key_id, None) is not None


class InMemoryMetricStore:
    """`failure`: what recording raises."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, int, int], Work] = {}
        self.minutes: dict[tuple[str, int, int], Work] = {}
        self.failure: DomainError | None = None

    async def record(self, added: Sequence[Rollup], kept: Kept) -> None:
        if self.failure is not None:
            raise self.failure
        for one in added:
            for works, at_s in ((self.seconds, one.starts_at_s), (self.minutes, minute_of(one.starts_at_s))):
                works.setdefault((one.model, one.revision, at_s), Work()).add(one.work)
        self.seconds = {key: work for key, work in self.seconds.items() if key[2] >= kept.seconds_from_s}
        self.minutes = {key: work for key, work in self.minutes.items() if key[2] >= kept.minutes_from_s}

    async def total(self, model: str, revision: int | None, minutes: range, seconds: range) -> Work:
        total = Work()
        for works, span in ((self.minutes, minutes), (self.seconds, seconds)):
            for (of_model, number, at_s), work in works.items():
                if of_model == model and revision in (None, number) and at_s in span:
                    total.add(work)
        return total


class InMemoryAnswerStore:
    """`failure`: what keeping raises."""

    def __init__(self) -> None:
        self._kept: dict[str, KeptAnswer] = {}
        self.failure: DomainError | None = None

    async def get(self, scope: str) -> KeptAnswer | None:
        return self._kept.get(scope)

    async def keep(self, kept: KeptAnswer) -> None:
        if self.failure is not None:
            raise self.failure
        self._kept[kept.asked.scope] = kept

    async def delete_kept(self, before: datetime) -> None:
        self._kept = {scope: kept for scope, kept in self._kept.items() if kept.kept_at > before}
