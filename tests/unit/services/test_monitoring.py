"""Inferences become rollups second by second, and rollups become the numbers of a period."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest, ModelNotFound, Unavailable, Unsupported
from control_plane.domain.generation import Generation
from control_plane.domain.rollups import MINUTES_KEPT_S, Work
from control_plane.domain.triton import Statistics
from control_plane.gateways.gpu import NoGpu
from control_plane.services.metering import HELD_MAX, Meter
from control_plane.services.monitoring import UNRECORDED_MAX, ModelMetrics, Monitoring
from tests.doubles.repository import tensor_revision, text_revision
from tests.doubles.services import World, make_world


async def a_world() -> World:
    """`coder` with two revisions, both loaded, and `adder`, which is not."""
    world = await make_world(text_revision("coder"), text_revision("coder", 2), tensor_revision("adder"))
    await world.services.models.load("coder:1")
    await world.services.models.load("coder:2")
    return world


async def infer(world: World, *models: str) -> None:
    for model in models:
        await world.services.inference.generate(Generation(model, "a b c"))


async def metrics(
    world: World, model: str = "coder", start: datetime | None = None, end: datetime | None = None
) -> ModelMetrics:
    monitoring = world.services.monitoring
    return await monitoring.metrics(model, monitoring.period(start, end))


async def counted(world: World, model: str = "coder", start: datetime | None = None) -> int:
    return (await metrics(world, model, start)).work.count


async def test_an_inference_counts_at_once_and_still_once_when_its_second_is_closed() -> None:
    world = await a_world()
    await infer(world, "coder", "coder")
    assert await counted(world) == 2
    await world.services.monitoring.close_second()
    assert await counted(world) == 2
    await infer(world, "coder")
    await world.services.monitoring.close()
    assert await counted(world) == 3
    assert {key: work.count for key, work in world.metrics.seconds.items()} == {
        ("coder", 1, int(world.clock.seconds())): 3
    }


async def test_a_name_counts_all_its_revisions_and_a_reference_the_one_it_means() -> None:
    world = await a_world()
    await infer(world, "coder", "coder:2", "coder:2")
    found = {model: await counted(world, model) for model in ("coder", "coder:1", "coder:2", "coder@stable")}
    assert found == {"coder": 3, "coder:1": 1, "coder:2": 2, "coder@stable": 1}
    assert (await metrics(world, "coder@stable")).model_id == "coder:1"
    assert await counted(world, "adder") == 0
    with pytest.raises(ModelNotFound):
        await metrics(world, "nobody")


async def test_failures_tokens_and_callers_who_leave_are_counted_as_ever() -> None:
    world = await a_world()
    await infer(world, "coder")
    stream = world.services.inference.stream(Generation("coder", "a b c"))
    await anext(stream)
    await stream.aclose()
    world.triton.fail_at = (1, EngineFailed("boom"))
    with suppress(EngineFailed):
        [_ async for _ in world.services.inference.stream(Generation("coder", "a b c"))]

    work = (await metrics(world)).work

    assert (work.successes, work.failures, work.tokens, sum(work.durations.values())) == (2, 1, 5, 2)
    assert work.success_rate == pytest.approx(2 / 3)


async def test_nothing_is_written_when_nothing_happens() -> None:
    world = await a_world()
    world.metrics.failure = AssertionError("it was written to")  # type: ignore[assignment]
    await world.services.monitoring.close_second()
    await world.services.monitoring.close()


async def test_a_second_counts_from_its_beginning_and_is_found_by_it() -> None:
    world = await a_world()
    noon = world.clock.now()
    await infer(world, "coder")
    world.clock.advance(1)
    await infer(world, "coder", "coder")
    assert await counted(world, start=noon) == 3
    assert await counted(world, start=noon + timedelta(seconds=1)) == 2
    assert await counted(world, start=noon + timedelta(milliseconds=900)) == 3
    assert (await metrics(world, start=noon - timedelta(hours=1), end=noon)).work.count == 1
    with pytest.raises(InvalidRequest, match="must not be after"):
        world.services.monitoring.period(noon + timedelta(hours=1), None)


async def test_seconds_are_kept_for_an_hour_and_minutes_for_7_days() -> None:
    world = await a_world()
    first = world.clock.now()
    for _ in range(3):
        await infer(world, "coder")
        world.clock.advance(3600)
        await world.services.monitoring.close_second()
    await infer(world, "coder")
    await world.services.monitoring.close_second()
    assert len(world.metrics.seconds) == 2
    assert await counted(world, start=first) == 4
    world.clock.advance(MINUTES_KEPT_S - 3600)
    await world.services.monitoring.close_second()
    await infer(world, "coder")
    await world.services.monitoring.close_second()
    assert len(world.metrics.seconds) == 1
    assert await counted(world, start=first) == 3


async def test_a_model_that_is_imported_anew_does_not_inherit_what_another_did() -> None:
    world = await a_world()
    await infer(world, "coder")
    world.clock.advance(5)
    await world.services.monitoring.close_second()
    record = world.services.catalog.get("coder").record
    world.services.catalog.put_record(
        type(record)("coder", world.clock.now(), world.clock.now(), aliases={"stable": 2})
    )
    assert await counted(world) == 0


async def test_what_cannot_be_written_waits_and_counts_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    world = await a_world()
    world.metrics.failure = Unavailable("the database does not answer")
    for _ in range(3):
        await infer(world, "coder")
        await world.services.monitoring.close_second()
    assert await counted(world) == 3
    assert [record.message for record in caplog.records] == ["metrics wait for the database"]
    world.metrics.failure = None
    await world.services.monitoring.close_second()
    assert sum(work.count for work in world.metrics.seconds.values()) == 3
    assert await counted(world) == 3


async def test_what_waits_for_the_database_is_bounded() -> None:
    world = await a_world()
    world.metrics.failure = Unavailable("the database does not answer")
    revision = world.services.catalog.resolve("coder").revision
    for _ in range(UNRECORDED_MAX + 50):
        world.services.inference.meter.of(revision).failed(0.1, 0)
        await world.services.monitoring.close_second()
    assert await counted(world) == UNRECORDED_MAX


def test_what_nobody_takes_is_bounded() -> None:
    seconds = iter(range(HELD_MAX + 100))
    meter = Meter(lambda: next(seconds))
    for _ in range(HELD_MAX + 50):
        meter.of(text_revision("coder")).failed(0.1, 0)
    assert [one.starts_at_s for one in meter.take()] == list(range(51, HELD_MAX + 51))
    assert meter.take() == meter.look() == []


async def test_a_question_in_the_middle_of_a_write_counts_everything_once() -> None:
    world = await a_world()
    writing, go_on, record = asyncio.Event(), asyncio.Event(), world.metrics.record

    async def slowly(*arguments: object) -> None:
        writing.set()
        await go_on.wait()
        await record(*arguments)  # type: ignore[arg-type]

    world.metrics.record = slowly  # type: ignore[method-assign]
    await infer(world, "coder")
    closing = asyncio.create_task(world.services.monitoring.close_second())
    await writing.wait()
    asking = asyncio.create_task(counted(world))
    await infer(world, "coder")
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert await asking == 2


async def test_the_time_in_tritons_queue_is_what_its_counters_grew_by() -> None:
    world = await a_world()
    told = {"coder--r1": [(10, 5000), (12, 5600), (14, 6600), (1, 100)]}

    async def statistics(directory: str) -> Statistics:
        successes, queue_us = told[directory].pop(0) if directory in told else (0, 0)
        return Statistics(0, 0, successes, 0, 0, queue_us, 0)

    world.triton.statistics = statistics  # type: ignore[method-assign]
    monitoring = world.services.monitoring
    await monitoring.close_second()  # seen loaded for the first time: where its counters stand is the beginning
    for _ in range(2):
        await infer(world, "coder")
        await monitoring.close_second()
    assert (await metrics(world)).work.average_queue_s == pytest.approx(1600e-6 / 4)
    await infer(world, "coder")  # it was loaded again: Triton counts from zero
    told["coder--r1"] = [(1, 100), (1, 100)]
    await monitoring.close_second()
    assert (await metrics(world)).work.average_queue_s == pytest.approx(1700e-6 / 5)


async def test_a_triton_that_does_not_tell_leaves_the_queue_unmeasured() -> None:
    world = await a_world()

    async def statistics(directory: str) -> Statistics:
        raise Unavailable(f"no word of {directory!r}")

    world.triton.statistics = statistics  # type: ignore[method-assign]
    await infer(world, "coder")
    await world.services.monitoring.close_second()
    found = await metrics(world)
    assert (found.work.count, found.work.average_queue_s, found.triton) == (1, None, None)
    assert found.reasons["triton"] == "no word of 'coder:1'"


async def test_tritons_counters_and_memory_are_of_the_revisions_that_are_loaded() -> None:
    world = await a_world()
    await infer(world, "coder", "coder:2", "coder:2")
    both, one, none = [await metrics(world, model) for model in ("coder", "coder:2", "adder")]
    assert both.triton is not None
    assert one.triton is not None
    assert (both.triton.inference_count, one.triton.inference_count) == (3, 2)
    assert (both.memory_bytes, one.memory_bytes) == (2_000_000, 1_000_000)
    assert (none.triton, none.memory_bytes) == (None, None)
    assert none.reasons == {"triton": "'adder' is not loaded", "memory_usage_bytes": "'adder' is not loaded"}


async def test_gpus_that_cannot_be_asked_are_null_with_the_reason() -> None:
    class Silent:
        def utilization_percent(self) -> float:
            raise Unsupported("the driver's library is not here", requires=["nvml"])

    world = await a_world()
    services = world.services

    def monitoring(gpu: Silent | NoGpu) -> Monitoring:
        return Monitoring(services.inference.meter, services.catalog, world.triton, world.metrics, world.clock, gpu)

    silent, absent = monitoring(Silent()), monitoring(NoGpu())
    found = await silent.metrics("coder", silent.period(None, None))
    assert (found.gpu_percent, found.reasons) == (None, {"gpu_utilization": "the driver's library is not here"})
    found = await absent.metrics("coder", absent.period(None, None))
    assert (found.gpu_percent, found.reasons) == (0.0, {})


@asynccontextmanager
async def watched(monitoring: Monitoring) -> AsyncIterator[None]:
    task = asyncio.create_task(monitoring.watch())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_watch_goes_on_after_a_fault_of_its_own() -> None:
    world = await a_world()
    world.clock.advance(0.999)  # a millisecond before the second is over, where this clock stays
    recorded = asyncio.Event()
    faults = [RuntimeError("a bug")]
    record = world.metrics.record

    async def once_wrong(*arguments: object) -> None:
        if faults:
            raise faults.pop()
        await record(*arguments)  # type: ignore[arg-type]
        recorded.set()

    world.metrics.record = once_wrong  # type: ignore[method-assign]
    await infer(world, "coder")
    async with watched(world.services.monitoring):
        await asyncio.wait_for(recorded.wait(), 5)
    assert sum((work.count for work in world.metrics.seconds.values()), 0) == 1
    assert world.metrics.minutes[("coder", 1, int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()))] != Work()
