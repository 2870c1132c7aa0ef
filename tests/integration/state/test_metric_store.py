"""One suite for every MetricStore: the one on SQLite, and the double that other tests use in its place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from control_plane.domain.rollups import Kept, Rollup, Work
from control_plane.gateways.state import SqlDatabase, SqlMetricStore, open_database
from control_plane.gateways.state.tables import metric_rollups
from control_plane.ports import MetricStore
from tests.doubles.stores import InMemoryMetricStore

MINUTE = 1_795_262_400  # the start of one
ALL = Kept(0, 0)
NOTHING = range(0)
EVER = range(0, 2**40)


@pytest.fixture
def store(database: SqlDatabase | None) -> MetricStore:
    return InMemoryMetricStore() if database is None else SqlMetricStore(database)


def work(*durations_s: float, tokens: int = 0, failures: int = 0) -> Work:
    done = Work(queue_us=7 * len(durations_s), queued=len(durations_s))
    for took_s in durations_s:
        done.succeeded(took_s, tokens)
    for _ in range(failures):
        done.failed(0.5, 1)
    return done


def a_second(second: int, done: Work, model: str = "coder", revision: int = 1) -> Rollup:
    return Rollup(model, revision, MINUTE + second, done)


async def test_what_is_recorded_comes_back_by_the_second_and_by_the_minute(store: MetricStore) -> None:
    done = work(0.25, 0.5, 8.0, tokens=12, failures=2)
    await store.record([a_second(3, done)], ALL)
    assert await store.total("coder", None, NOTHING, range(MINUTE + 3, MINUTE + 4)) == done
    assert await store.total("coder", None, range(MINUTE, MINUTE + 1), NOTHING) == done
    assert await store.total("coder", None, range(MINUTE + 1, MINUTE + 9), range(MINUTE + 4, MINUTE + 9)) == Work()


async def test_the_seconds_of_a_minute_are_added_up_in_it(store: MetricStore) -> None:
    await store.record([a_second(0, work(0.25)), a_second(1, work(0.5))], ALL)
    await store.record([a_second(59, work(0.5, failures=1)), a_second(60, work(4.0))], ALL)
    assert await store.total("coder", None, range(MINUTE, MINUTE + 60), NOTHING) == work(0.25, 0.5, 0.5, failures=1)
    assert await store.total("coder", None, EVER, NOTHING) == work(0.25, 0.5, 0.5, 4.0, failures=1)
    assert await store.total("coder", None, NOTHING, range(MINUTE + 1, MINUTE + 60)) == work(0.5, 0.5, failures=1)


async def test_a_second_that_is_recorded_twice_is_the_sum(store: MetricStore) -> None:
    await store.record([a_second(5, work(0.25)), a_second(5, work(0.5))], ALL)
    await store.record([a_second(5, work(0.25, failures=1))], ALL)
    assert await store.total("coder", None, NOTHING, EVER) == work(0.25, 0.5, 0.25, failures=1)


async def test_models_and_revisions_do_not_mix_and_a_model_is_all_of_its_revisions(store: MetricStore) -> None:
    await store.record(
        [
            a_second(0, work(1.0)),
            a_second(0, work(2.0), revision=2),
            a_second(0, work(4.0), model="coder2"),
            a_second(61, work(8.0), revision=2),
        ],
        ALL,
    )
    assert await store.total("coder", 1, EVER, NOTHING) == work(1.0)
    assert await store.total("coder", 2, EVER, NOTHING) == work(2.0, 8.0)
    assert await store.total("coder", None, EVER, NOTHING) == work(1.0, 2.0, 8.0)
    assert await store.total("nobody", None, EVER, EVER) == Work()


async def test_what_is_older_than_is_kept_is_forgotten(store: MetricStore) -> None:
    await store.record([a_second(second, work(1.0)) for second in (0, 30, 70)], ALL)
    await store.record([a_second(120, work(1.0))], Kept(seconds_from_s=MINUTE + 70, minutes_from_s=MINUTE + 60))
    assert (await store.total("coder", None, NOTHING, EVER)).count == 2
    assert (await store.total("coder", None, EVER, NOTHING)).count == 2


async def test_two_that_record_at_once_lose_nothing(store: MetricStore) -> None:
    await asyncio.gather(*(store.record([a_second(1, work(1.0))], ALL) for _ in range(20)))
    assert (await store.total("coder", None, EVER, NOTHING)).count == 20


async def test_2000_rollups_are_recorded_at_once(store: MetricStore) -> None:
    await store.record([a_second(60 * minute, work(1.0)) for minute in range(2000)], ALL)
    assert (await store.total("coder", None, EVER, NOTHING)).count == 2000


async def test_c_persist_01_rollups_survive_a_restart_in_rows_that_do_not_grow_with_traffic(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/state.db"
    busy = work(*(0.001 * (1 + number % 7) for number in range(10_000)))
    async with open_database(url) as database:
        await SqlMetricStore(database).record([a_second(0, busy)], ALL)
    async with open_database(url) as database:
        assert (await SqlMetricStore(database).total("coder", None, NOTHING, EVER)).durations == busy.durations
        async with database.reading() as connection:
            sizes = select(func.count(), func.sum(func.length(metric_rollups.c.durations)))
            assert tuple((await connection.execute(sizes)).one()) == (2, 2 * 6 * 7)
