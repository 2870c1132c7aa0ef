"""Successive halving, with made-up measurements."""

from __future__ import annotations

import pytest

from control_plane.services.halving import Budget, Halved, successive_halving

MERITS = {"a": 1.0, "b": 4.0, "c": 3.0, "d": 2.0}


class Bench:
    def __init__(self, merits: dict[str, float | None]) -> None:
        self.merits, self.asked = merits, list[tuple[str, int]]()

    async def measure(self, candidate: str, rounds: int) -> float | None:
        self.asked.append((candidate, rounds))
        return self.merits[candidate]


async def halved(bench: Bench, budget: Budget, out_after: int = 1000) -> Halved[str]:
    names = list(bench.merits)
    return await successive_halving(names, bench.measure, budget, lambda: len(bench.asked) >= out_after)


async def test_the_better_half_goes_on_with_twice_the_rounds() -> None:
    bench = Bench({**MERITS})
    found = await halved(bench, Budget(2, 100))
    assert bench.asked == [("a", 2), ("b", 2), ("c", 2), ("d", 2), ("b", 4), ("c", 4), ("b", 8)]
    assert found.ranking == ("b", "c", "d", "a")
    assert [rung.rounds for rung in found.rungs] == [2, 4, 8]
    assert all(rung.is_whole for rung in found.rungs)


async def test_it_ends_with_the_maximum_of_rounds() -> None:
    bench = Bench({**MERITS})
    found = await halved(bench, Budget(4, 6, keep=0.75))
    assert [rung.rounds for rung in found.rungs] == [4, 6]
    assert found.ranking == ("b", "c", "d", "a")


async def test_who_fails_is_out() -> None:
    found = await halved(Bench({**MERITS, "b": None}), Budget(2, 4))
    assert found.ranking == ("c", "d", "a")
    assert dict(found.rungs[0].values)["b"] is None
    assert (await halved(Bench({"a": None}), Budget())).ranking == ()
    assert (await halved(Bench({}), Budget())) == Halved((), ())


async def test_a_rung_that_the_time_broke_off_decides_nothing() -> None:
    bench = Bench({**MERITS})
    bench_later = {**MERITS, "b": 0.0}

    async def worse_later(candidate: str, rounds: int) -> float | None:
        bench.asked.append((candidate, rounds))
        return MERITS[candidate] if rounds == 2 else bench_later[candidate]

    found = await successive_halving(list(MERITS), worse_later, Budget(2, 8), lambda: len(bench.asked) >= 5)
    assert found.ranking == ("b", "c", "d", "a")
    assert [rung.is_whole for rung in found.rungs] == [True, False]


async def test_in_a_broken_first_rung_those_that_were_measured_are_ranked() -> None:
    found = await halved(Bench({**MERITS}), Budget(), out_after=2)
    assert found.ranking == ("b", "a")


@pytest.mark.parametrize("wrong", [(0, 1, 0.5), (5, 4, 0.5), (1, 2, 1.0), (1, 2, 0.0)])
def test_a_budget_that_would_not_end_is_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="a budget needs"):
        Budget(*wrong)
