"""One suite for every KeyStore: the one on SQLite, and the double that other tests use in its place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.domain.access import ApiKey, Role
from control_plane.domain.errors import Conflict
from control_plane.gateways.state import SqlDatabase, SqlKeyStore
from control_plane.ports import KeyStore
from tests.doubles.stores import InMemoryKeyStore

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEY = ApiKey("key_1", "d" * 64, "ci", Role.USER, NOON, "strict", NOON + timedelta(days=1))
BARE = ApiKey("key_2", "e" * 64, "dashboard", Role.VIEWER, NOON + timedelta(seconds=1))


@pytest.fixture
def store(database: SqlDatabase | None) -> KeyStore:
    return InMemoryKeyStore() if database is None else SqlKeyStore(database)


async def test_a_key_is_found_by_its_digest_exactly_as_it_was_added(store: KeyStore) -> None:
    await store.add(KEY)
    await store.add(BARE)
    assert await store.by_digest(KEY.digest) == KEY
    assert await store.by_digest(BARE.digest) == BARE
    assert await store.by_digest("f" * 64) is None


async def test_keys_are_listed_oldest_first(store: KeyStore) -> None:
    await store.add(BARE)
    await store.add(KEY)
    assert list(await store.list()) == [KEY, BARE]


async def test_a_deleted_key_is_gone_and_deleting_says_whether_there_was_one(store: KeyStore) -> None:
    await store.add(KEY)
    assert await store.delete(KEY.id) is True
    assert await store.delete(KEY.id) is False
    assert await store.by_digest(KEY.digest) is None
    assert list(await store.list()) == []


@pytest.mark.parametrize("second", [replace(BARE, id=KEY.id), replace(BARE, digest=KEY.digest)])
async def test_neither_an_id_nor_a_secret_can_be_used_twice(store: KeyStore, second: ApiKey) -> None:
    await store.add(KEY)
    with pytest.raises(Conflict):
        await store.add(second)
    assert list(await store.list()) == [KEY]
