"""How finalists are measured again, by the whole workflow on doubles, in virtual time."""

from __future__ import annotations

from control_plane.domain.optimization import Level
from tests.doubles.optimizing import Place, candidate, in_no_time, level


def test_both_sides_of_a_final_are_loaded_anew_each_time() -> None:
    place = Place(
        level("basic", candidate("fast"), candidate("slow")),
        level("perfect", floor=None, search={"proof": {"repeats": 2}}),
        fast=0.01,
    )

    async def one() -> list[str]:
        await (await place.open()).optimized(Level.PERFECT)
        return place.scratches.opened[0].loads

    finals = ["baseline", "fast"] * 2
    assert in_no_time(one()) == ["baseline", "fast", "slow", *finals]
