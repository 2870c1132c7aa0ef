"""Rollups of what models did, in SQL: a row for each second and one for each minute of a revision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from struct import Struct
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.domain.rollups import MINUTE_S, SECOND_S, Kept, Rollup, Work, minute_of
from control_plane.gateways.state.database import SqlDatabase
from control_plane.gateways.state.tables import metric_rollups as rollups

# A histogram is its buckets that are not empty, one after the other: which, and how many.
_PAIR = Struct("<HI")
_PAIRS = np.dtype([("bucket", "<u2"), ("count", "<u4")])
_KEY = (rollups.c.resolution_s, rollups.c.model, rollups.c.starts_at_s, rollups.c.revision)
_IS_KEY = [column == bindparam(f"this_{column.name}") for column in _KEY]
_SUMS = ("successes", "failures", "tokens", "took_s", "generating_s", "queue_us", "queued")
Key = tuple[int, str, int, int]


class SqlMetricStore:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def record(self, added: Sequence[Rollup], kept: Kept) -> None:
        works = _by_key(added)
        async with self._database.writing() as connection:
            if works:
                await _merge(connection, works)
            await connection.execute(delete(rollups).where(_begins_before(SECOND_S, kept.seconds_from_s)))
            await connection.execute(delete(rollups).where(_begins_before(MINUTE_S, kept.minutes_from_s)))

    async def total(self, model: str, revision: int | None, minutes: range, seconds: range) -> Work:
        of_model = and_(rollups.c.model == model, *([] if revision is None else [rollups.c.revision == revision]))
        wanted = and_(of_model, or_(_begins_in(MINUTE_S, minutes), _begins_in(SECOND_S, seconds)))
        sums = select(*(func.coalesce(func.sum(rollups.c[name]), 0).label(name) for name in _SUMS)).where(wanted)
        async with self._database.reading() as connection:
            row = (await connection.execute(sums)).one()
            histograms = (await connection.execute(select(rollups.c.durations).where(wanted))).scalars().all()
        return Work(**row._mapping, durations=_added_up(histograms))


def _by_key(added: Iterable[Rollup]) -> dict[Key, Work]:
    works: dict[Key, Work] = {}
    for one in added:
        for resolution_s, starts_at_s in ((SECOND_S, one.starts_at_s), (MINUTE_S, minute_of(one.starts_at_s))):
            works.setdefault((resolution_s, one.model, starts_at_s, one.revision), Work()).add(one.work)
    return works


async def _merge(connection: AsyncConnection, works: Mapping[Key, Work]) -> None:
    """With what is there already: the minute that is not over, or a second that a clock went through twice."""
    # More than is asked for where several seconds of several models meet; SQLite would scan the table for tuples.
    near = [column.in_({key[place] for key in works}) for place, column in enumerate(_KEY)]
    for row in await connection.execute(select(rollups).where(*near)):
        if (work := works.get((row.resolution_s, row.model, row.starts_at_s, row.revision))) is not None:
            work.add(_work(row))
    await connection.execute(delete(rollups).where(*_IS_KEY), [_key_parameters(key) for key in works])
    await connection.execute(insert(rollups), [_columns(key, work) for key, work in works.items()])


def _key_parameters(key: Key) -> dict[str, object]:
    return {f"this_{column.name}": part for column, part in zip(_KEY, key, strict=True)}


def _columns(key: Key, work: Work) -> dict[str, Any]:
    names = (column.name for column in _KEY)
    packed = b"".join(_PAIR.pack(index, count) for index, count in sorted(work.durations.items()))
    return {**dict(zip(names, key, strict=True)), **asdict(work), "durations": packed}


def _work(row: Row[Any]) -> Work:
    return Work(**{name: row._mapping[name] for name in _SUMS}, durations=dict(_PAIR.iter_unpack(row.durations)))


def _added_up(histograms: Sequence[bytes]) -> dict[int, int]:
    pairs = np.frombuffer(b"".join(histograms), _PAIRS)
    counts = np.bincount(pairs["bucket"], weights=pairs["count"])
    return {int(index): int(counts[index]) for index in np.flatnonzero(counts)}


def _begins_in(resolution_s: int, span: range) -> ColumnElement[bool]:
    at = rollups.c.starts_at_s
    return and_(rollups.c.resolution_s == resolution_s, at >= span.start, at < span.stop)


def _begins_before(resolution_s: int, at_s: int) -> ColumnElement[bool]:
    return and_(rollups.c.resolution_s == resolution_s, rollups.c.starts_at_s < at_s)
