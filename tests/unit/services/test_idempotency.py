"""Done once, told again: keys that stand for one request, requests that run already, answers that are not kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from control_plane.domain.errors import Conflict, Unavailable
from control_plane.domain.idempotency import Answer, Asked
from control_plane.services.idempotency import Idempotency
from tests.doubles.clock import FixedClock
from tests.doubles.stores import InMemoryAnswerStore

FIRST, OTHER = Asked("scope", "body"), Asked("scope", "another body")


class Work:
    """Answers with its statuses in turn, each once `gate` is open."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.runs = list(statuses), 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Answer:
        self.runs += 1
        status = self.statuses.pop(0)
        await self.gate.wait()
        return Answer(status, "application/json", b"answer %d" % self.runs)


@pytest.fixture
def store() -> InMemoryAnswerStore:
    return InMemoryAnswerStore()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def idempotency(store: InMemoryAnswerStore, clock: FixedClock) -> Idempotency:
    return Idempotency(store, clock)


async def begun(idempotency: Idempotency, work: Work, count: int) -> list[asyncio.Task[tuple[Answer, bool]]]:
    """As many of one request; the first works until its gate is opened, the others wait for it."""
    work.gate.clear()
    tasks = [asyncio.create_task(idempotency.once(FIRST, work)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_c_idem_01_the_same_again_is_told_what_the_first_was(idempotency: Idempotency) -> None:
    work = Work(202)
    first, is_replay = await idempotency.once(FIRST, work)
    assert not is_replay
    assert await idempotency.once(FIRST, work) == (first, True)
    assert work.runs == 1


async def test_c_idem_01_a_key_stands_for_one_request_only(idempotency: Idempotency) -> None:
    work = Work(200)
    await idempotency.once(FIRST, work)
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await idempotency.once(OTHER, work)
    assert work.runs == 1


async def test_c_idem_01_a_duplicate_waits_for_the_one_that_runs(idempotency: Idempotency) -> None:
    work = Work(200)
    first, *duplicates = await begun(idempotency, work, 4)
    with pytest.raises(Conflict):  # another request is not made to wait
        await idempotency.once(OTHER, work)
    assert not any(task.done() for task in duplicates)
    work.gate.set()
    answer, _ = await first
    assert await asyncio.gather(*duplicates) == [(answer, True)] * 3
    assert work.runs == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
async def test_c_idem_01_what_was_refused_or_failed_is_tried_again(idempotency: Idempotency, status: int) -> None:
    work = Work(status, 200)
    assert (await idempotency.once(FIRST, work))[0].status == status
    answer, is_replay = await idempotency.once(FIRST, work)
    assert (answer.status, is_replay) == (200, False)


async def test_c_idem_01_one_that_waited_for_a_failure_works_itself(idempotency: Idempotency) -> None:
    work = Work(503, 200)
    first, second = await begun(idempotency, work, 2)
    work.gate.set()
    assert [(await task)[0].status for task in (first, second)] == [503, 200]


async def test_c_idem_01_one_that_waited_for_a_cancelled_one_works_itself(idempotency: Idempotency) -> None:
    work = Work(200, 200)
    first, second = await begun(idempotency, work, 2)
    first.cancel()
    work.gate.set()
    assert (await second)[1] is False
    assert work.runs == 2


async def test_c_idem_01_after_24_hours_a_key_means_nothing(
    idempotency: Idempotency, store: InMemoryAnswerStore, clock: FixedClock
) -> None:
    work = Work(200, 200)
    await idempotency.once(FIRST, work)
    clock.advance(timedelta(hours=24).total_seconds() - 1)
    await idempotency.forget_old()
    assert (await idempotency.once(FIRST, work))[1] is True
    clock.advance(1)
    assert (await idempotency.once(OTHER, work))[1] is False
    clock.advance(timedelta(hours=25).total_seconds())
    await idempotency.forget_old()
    assert await store.get(FIRST.scope) is None


async def test_c_idem_01_what_is_done_is_answered_though_it_cannot_be_kept(
    idempotency: Idempotency, store: InMemoryAnswerStore
) -> None:
    store.failure = Unavailable("the database does not answer")
    answer, is_replay = await idempotency.once(FIRST, Work(200))
    assert (answer.status, is_replay) == (200, False)
