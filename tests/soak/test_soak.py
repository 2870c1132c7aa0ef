"""Imports that are killed with their server, or cancelled, at many moments: `make soak`.

`SOAK_KILLS`, `SOAK_CANCELS` and `SOAK_SEED` say how many and which.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Sequence

import pytest

from tests.survival.plane import Plane
from tests.survival.scenarios import Ending, Moment, Scenario, figures
from tests.survival.sources import Source

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]
log = logging.getLogger(__name__)
KILLS, CANCELS = int(os.environ.get("SOAK_KILLS", "50")), int(os.environ.get("SOAK_CANCELS", "20"))
SEED = int(os.environ.get("SOAK_SEED", "1"))


@pytest.fixture(scope="module")
def scenario(plane: Plane) -> Scenario:
    return Scenario(plane, random.Random(SEED))


def drawn(scenario: Scenario, kinds: Sequence[Source], count: int) -> list[tuple[Source, Moment]]:
    """Half of them conversions of a language model, a quarter each of the others; in a shuffled order."""
    half = count // 2
    counts = [half, (count - half) // 2, count - half - (count - half) // 2]
    moments = [
        (one, moment) for one, share in zip(kinds, counts, strict=True) for moment in scenario.moments(one, share)
    ]
    random.Random(SEED).shuffle(moments)
    return moments


def repeated(act: Callable[[Source, Moment], Ending], moments: Sequence[tuple[Source, Moment]]) -> list[Ending]:
    endings = []
    for number, (source, moment) in enumerate(moments, 1):
        log.info("%d of %d: %s, %s", number, len(moments), source.name, moment)
        endings.append(act(source, moment))
        log.info("%s", endings[-1])
    for line in figures(endings):
        log.info("%s", line)
    return endings


def test_a_server_killed_at_any_moment_of_an_import_loses_nothing(
    scenario: Scenario, kinds: tuple[Source, ...]
) -> None:
    endings = repeated(scenario.kill, drawn(scenario, kinds, KILLS))
    # Each of these sources can be imported, so a death is no reason to fail.
    assert [str(ending) for ending in endings if ending.state == "failed"] == []


def test_an_import_cancelled_at_any_moment_leaves_nothing(
    plane: Plane, scenario: Scenario, kinds: tuple[Source, ...]
) -> None:
    endings = repeated(scenario.cancel, drawn(scenario, kinds, CANCELS))
    assert [str(ending) for ending in endings if ending.state == "failed"] == []
    for source in kinds:
        plane.learn(source)
