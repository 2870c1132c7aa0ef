"""One suite for every ModelStore: the one on SQLite, and the double that other tests use in its place."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from control_plane.domain.errors import Conflict, ModelNotFound
from control_plane.domain.models import ModelRecord
from control_plane.gateways.state import SqlDatabase, SqlModelStore
from control_plane.ports import ModelStore
from tests.doubles.stores import InMemoryModelStore

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


@pytest.fixture
def store(database: SqlDatabase | None) -> ModelStore:
    return InMemoryModelStore() if database is None else SqlModelStore(database)


def a_record(name: str = "tiny") -> ModelRecord:
    return ModelRecord(
        name, NOON, NOON, is_builtin=True, aliases={"stable": 2, "candidate": 3}, desired=frozenset({2, 3})
    )


async def test_a_record_comes_back_as_it_was_created(store: ModelStore) -> None:
    await store.create(a_record())
    assert list(await store.list()) == [a_record()]


async def test_records_are_listed_by_name_and_do_not_mix(store: ModelStore) -> None:
    bare = ModelRecord("b", NOON, NOON)
    for record in (a_record("c"), bare, a_record("A")):
        await store.create(record)
    assert list(await store.list()) == [a_record("A"), bare, a_record("c")]


async def test_a_time_in_another_zone_comes_back_as_the_same_moment_in_utc(store: ModelStore) -> None:
    await store.create(a_record())
    await store.set_desired("tiny", frozenset(), NOON.astimezone(timezone(timedelta(hours=5))))
    (record,) = await store.list()
    assert record.updated_at == NOON


async def test_a_name_can_be_created_once(store: ModelStore) -> None:
    await store.create(a_record())
    with pytest.raises(Conflict):
        await store.create(ModelRecord("tiny", LATER, LATER))
    assert list(await store.list()) == [a_record()]


async def test_an_alias_moves_and_the_others_stay(store: ModelStore) -> None:
    await store.create(a_record())
    await store.set_alias("tiny", "stable", 7, LATER)
    await store.set_alias("tiny", "own", 1, LATER)
    (record,) = await store.list()
    assert record.aliases == {"stable": 7, "candidate": 3, "own": 1}
    assert (record.created_at, record.updated_at) == (NOON, LATER)


async def test_desired_revisions_are_replaced_as_a_whole(store: ModelStore) -> None:
    await store.create(a_record())
    await store.set_desired("tiny", frozenset({3, 9}), LATER)
    (record,) = await store.list()
    assert (record.desired, record.updated_at) == (frozenset({3, 9}), LATER)
    await store.set_desired("tiny", frozenset(), LATER)
    (record,) = await store.list()
    assert record.desired == frozenset()


async def test_aliases_and_desired_revisions_need_a_model(store: ModelStore) -> None:
    with pytest.raises(ModelNotFound):
        await store.set_alias("absent", "stable", 1, NOON)
    with pytest.raises(ModelNotFound):
        await store.set_desired("absent", frozenset({1}), NOON)
    assert list(await store.list()) == []


async def test_revision_numbers_begin_at_1_and_each_model_has_its_own(store: ModelStore) -> None:
    assert [await store.next_revision("a"), await store.next_revision("a"), await store.next_revision("b")] == [1, 2, 1]


async def test_fifty_callers_at_once_get_fifty_different_numbers(store: ModelStore) -> None:
    numbers = await asyncio.gather(*(store.next_revision("tiny") for _ in range(50)))
    assert sorted(numbers) == list(range(1, 51))


async def test_a_deleted_model_leaves_nothing_but_its_used_numbers(store: ModelStore) -> None:
    await store.create(a_record())
    assert await store.next_revision("tiny") == 1
    await store.delete("tiny")
    await store.delete("tiny")
    assert list(await store.list()) == []
    await store.create(ModelRecord("tiny", LATER, LATER))
    assert list(await store.list()) == [ModelRecord("tiny", LATER, LATER)]
    assert await store.next_revision("tiny") == 2
