"""One suite for every AnswerStore: the one on SQLite, and the double that other tests use in its place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.domain.idempotency import Answer, Asked, KeptAnswer
from control_plane.gateways.state import SqlAnswerStore, SqlDatabase
from control_plane.ports import AnswerStore
from tests.doubles.stores import InMemoryAnswerStore

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEPT = KeptAnswer(Asked("a" * 64, "b" * 64), Answer(202, "application/json", b'{"job_id":"\x00\xff"}'), NOON)


@pytest.fixture
def store(database: SqlDatabase | None) -> AnswerStore:
    return InMemoryAnswerStore() if database is None else SqlAnswerStore(database)


async def test_c_idem_01_an_answer_is_found_by_its_scope_exactly_as_it_was_kept(store: AnswerStore) -> None:
    await store.keep(KEPT)
    assert await store.get(KEPT.asked.scope) == KEPT
    assert await store.get("c" * 64) is None


async def test_a_newer_answer_takes_the_place_of_one_that_was_due_to_go(store: AnswerStore) -> None:
    newer = replace(KEPT, answer=Answer(200, "application/json", b"{}"), kept_at=NOON + timedelta(days=2))
    await store.keep(KEPT)
    await store.keep(newer)
    assert await store.get(KEPT.asked.scope) == newer


async def test_only_what_is_old_is_forgotten(store: AnswerStore) -> None:
    young = KeptAnswer(Asked("d" * 64, "b" * 64), KEPT.answer, NOON + timedelta(seconds=1))
    await store.keep(KEPT)
    await store.keep(young)
    await store.delete_kept(NOON)
    assert await store.get(KEPT.asked.scope) is None
    assert await store.get(young.asked.scope) == young
