"""Which settings the serving search tries, keeps and leaves out, with numbers made up for each test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from control_plane.domain.errors import EngineFailed, InvalidRequest, Unavailable, Unsupported
from control_plane.domain.models import Description, LoadOptions
from control_plane.domain.tensors import pack
from control_plane.ports import ProfileRequest
from control_plane.services.serving_search import Found, Grid, Limits, ServingSearch, Subject, Trial, grid_of
from tests.doubles.profiler import InMemoryProfiler, RecordingRepository
from tests.doubles.scratch import InMemoryScratch

MODEL = "tried"
REQUESTS = ((pack("X", "FP32", [1, 4], [1.0] * 4),),)
GRID = Grid({"instance_count": (1, 2), "max_batch_size": (8, 32), "queue_delay_us": (0, 500)}, (1, 8))


def speed(settings: LoadOptions, concurrency: int) -> tuple[float, float]:
    """Two instances and batches of 32 give the most; a delay gives more and costs 4 ms."""
    rate = 100.0 * (settings.instance_count or 1) + (settings.max_batch_size or 0)
    rate += 50 if settings.queue_delay_us == 500 else 0
    p99_s = 0.001 * concurrency + (0.004 if settings.queue_delay_us == 500 else 0)
    return rate * (1 + concurrency / 10), p99_s


class World:
    def __init__(self, folder: Path) -> None:
        self.scratch = InMemoryScratch(folder / "repository")
        self.repository = RecordingRepository()
        self.profiler = InMemoryProfiler(self.repository, speed)
        self.told: list[Trial] = []
        self._folder = folder

    async def search(
        self, grid: Grid = GRID, slo_p99_ms: float | None = None, is_out_of_time: Callable[[], bool] = lambda: False
    ) -> Found:
        subject = Subject(self._folder, MODEL, Description(), LoadOptions(), REQUESTS, (("max_tokens", 4),))
        search = ServingSearch(self.scratch, self.repository, self.profiler)
        limits = Limits(slo_p99_ms, is_out_of_time)
        return await search.search(subject, grid, limits, self._folder / "profiles", self.told.append)

    def left(self) -> set[str]:
        return {path.name for place in (self._folder, self.scratch.repository) for path in place.iterdir()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path)
    found.scratch.repository.mkdir()
    return found


async def test_the_most_throughput_wins_and_the_product_of_all_values_is_not_tried(world: World) -> None:
    found = await world.search()
    assert found.best is not None
    assert found.best.settings == LoadOptions(instance_count=2, max_batch_size=32, queue_delay_us=500)
    assert found.confirmed is not None
    assert (found.confirmed.concurrency, found.is_whole) == (8, True)
    # The base, what each turn of a setting adds, and what a second sweep asks anew.
    assert found.trials[0].settings == LoadOptions()
    assert len(found.trials) < 1 + 2 * 2 * 2 + 2
    assert list(found.trials) == world.told
    assert len(set(world.repository.staged)) == len(found.trials)


async def test_what_breaks_the_slo_does_not_win_however_much_it_gives(world: World) -> None:
    found = await world.search(slo_p99_ms=10.0)
    assert found.best is not None
    assert found.best.settings == LoadOptions(instance_count=2, max_batch_size=32)  # a delay of 0 is no better
    assert all(profile.latency_p99_s <= 0.010 for profile in found.best.profiles)


async def test_with_more_at_a_time_than_keeps_the_slo_nothing_more_is_asked(world: World) -> None:
    found = await world.search(Grid({}, (1, 4, 8, 16)), slo_p99_ms=5.0)
    assert [profile.concurrency for profile in found.trials[0].profiles] == [1, 4, 8]
    assert found.confirmed is not None
    assert found.confirmed.concurrency == 4


async def test_an_slo_that_nothing_keeps_has_no_winner(world: World) -> None:
    found = await world.search(slo_p99_ms=0.5)
    assert (found.best, found.confirmed) == (None, None)
    assert all(len(trial.profiles) == 1 for trial in found.trials)


async def test_what_the_backend_refuses_is_skipped_with_its_reason(world: World) -> None:
    world.repository.refusals["max_batch_size", 32] = InvalidRequest("max_batch_size does not apply to this model")
    world.repository.refusals["instance_count", 2] = Unsupported("not here", requires="nvidia_gpu")
    found = await world.search()
    reasons = {trial.reason for trial in found.trials if not trial.profiles}
    assert reasons == {"max_batch_size does not apply to this model", "not here"}
    assert found.best is not None
    assert found.best.settings == LoadOptions(max_batch_size=8, queue_delay_us=500)


async def test_the_batch_axis_follows_the_settings_and_parameters_travel(world: World) -> None:
    await world.search(Grid({"max_batch_size": (0, 8)}, (1,)))
    settings = [one.max_batch_size for one in world.repository.staged]
    told = [request.has_batch_axis for request in world.profiler.requests]
    assert list(zip(settings, told, strict=True)) == [(None, False), (0, False), (8, True), (8, True)]
    assert {request.parameters for request in world.profiler.requests} == {(("max_tokens", 4),)}


async def test_a_luckier_measurement_does_not_win_if_it_cannot_be_repeated(world: World) -> None:
    asked: dict[LoadOptions, int] = {}

    def lucky_once(settings: LoadOptions, concurrency: int) -> tuple[float, float]:
        asked[settings] = asked.get(settings, 0) + 1
        if settings.instance_count == 2:
            return 1000.0, 0.001 if asked[settings] == 1 else 0.100
        return 100.0, 0.001

    world.profiler.speed = lucky_once
    found = await world.search(Grid({"instance_count": (2,)}, (1,)), slo_p99_ms=10.0)
    assert found.best is not None
    assert found.best.settings == LoadOptions()


async def test_out_of_time_it_ends_with_the_best_so_far_unconfirmed(world: World) -> None:
    looks: Iterator[bool] = iter([False, False, True, True])
    found = await world.search(is_out_of_time=lambda: next(looks))
    assert [trial.settings.instance_count for trial in found.trials] == [None, 1, 2]
    assert found.best is found.trials[2]
    assert (found.confirmed, found.is_whole) == (None, False)


async def test_settings_under_which_triton_dies_are_out_and_the_search_goes_on(world: World) -> None:
    def die(settings: LoadOptions, request: ProfileRequest) -> None:
        if settings.instance_count == 2 and request.concurrency == 8:
            world.scratch.die()
            raise EngineFailed("perf_analyzer failed: Socket closed")

    world.profiler.fail = die
    found = await world.search()
    dead = [trial for trial in found.trials if trial.settings.instance_count == 2]
    assert {(trial.profiles, trial.reason) for trial in dead} == {
        ((), "Triton died under these settings: perf_analyzer failed: Socket closed")
    }
    assert found.best is not None
    assert found.best.settings.instance_count is None


async def test_a_load_that_fails_is_a_reason_and_a_triton_that_stays_away_ends_the_search(world: World) -> None:
    world.scratch.refusals[MODEL] = EngineFailed("no memory")
    found = await world.search()
    assert found.best is None
    assert {trial.reason for trial in found.trials} == {"no memory"}

    world.scratch.refusals.clear()
    world.scratch.killers.add(MODEL)
    world.scratch.is_lost = True
    with pytest.raises(Unavailable, match="cannot be started"):
        await world.search()
    assert world.left() == {"repository"}


async def test_what_stood_a_lower_load_may_win_though_it_failed_at_a_higher(world: World) -> None:
    def full(settings: LoadOptions, request: ProfileRequest) -> None:
        if request.concurrency == 8:
            raise EngineFailed("perf_analyzer failed: the queue is full")

    world.profiler.fail = full
    found = await world.search(Grid({}, (1, 8)))
    assert found.best is not None
    assert found.best.reason == "perf_analyzer failed: the queue is full"
    assert found.confirmed is not None
    assert found.confirmed.concurrency == 1


async def test_without_a_profiler_nothing_is_searched(world: World) -> None:
    def absent(settings: LoadOptions, request: ProfileRequest) -> None:
        raise Unsupported("perf_analyzer does not run here", requires="perf_analyzer")

    world.profiler.fail = absent
    with pytest.raises(Unsupported, match="does not run here"):
        await world.search()
    assert world.scratch.loaded == set()


async def test_cancelled_it_leaves_no_file_and_waits_for_no_unload(world: World) -> None:
    begun = asyncio.Event()

    async def forever(request: ProfileRequest) -> None:
        (request.folder).mkdir(parents=True)
        begun.set()
        await asyncio.Event().wait()

    async def frozen(directory: str, timeout_s: float) -> None:
        await asyncio.Event().wait()

    world.profiler.profile = forever  # type: ignore[method-assign, assignment]
    world.scratch.unload = frozen  # type: ignore[method-assign]
    running = asyncio.create_task(world.search())
    await begun.wait()
    assert world.scratch.loaded == {MODEL}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(1):
            await running
    assert world.left() == {"repository"}


def test_a_table_of_a_level_becomes_a_grid() -> None:
    grid = grid_of({"threads": [1, 2], "instance_count": [1], "concurrency": [8, 1], "window_s": 1})
    assert list(grid.settings.items()) == [("instance_count", (1,)), ("threads", (1, 2))]
    assert (grid.concurrency, grid.window_s) == ((1, 8), 1.0)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"instances": [1]}, "knows no 'instances'; it knows concurrency, instance_count"),
        ({"threads": 2}, "threads of the serving search must be a list of whole numbers, got 2"),
        ({"threads": [True]}, "must be a list of whole numbers"),
        ({"concurrency": []}, "must be a list of whole numbers"),
    ],
)
def test_a_wrong_table_is_refused(table: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        grid_of(table)
