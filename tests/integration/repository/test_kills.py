"""A publisher that dies at any moment leaves nothing half."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.unit.repository.directories import Workshop

REPETITIONS = 10
LONGEST_LIFE_S = 0.3


def publish_and_kill(state: Path, first: int, life_s: float) -> None:
    command = [sys.executable, "-m", "tests.integration.repository.publish_forever", str(state), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "begun\n"
        time.sleep(life_s)
        publisher.kill()
    assert publisher.returncode == -9


async def test_after_a_kill_at_any_moment_the_repository_is_whole(tmp_path: Path) -> None:
    chance = random.Random(20)
    state, first, lives, published, interrupted = tmp_path / "state", 1, 0, 0, 0
    # Kills that hit between two publications prove nothing: it goes on until enough have hit one.
    while lives < REPETITIONS or published <= REPETITIONS or interrupted <= REPETITIONS // 2:
        lives += 1
        publish_and_kill(state, first, chance.uniform(0, LONGEST_LIFE_S))
        workshop = Workshop.open(state)
        interrupted += bool(workshop.names("staging"))

        revisions = await workshop.repository.revisions()

        # Nothing was ever visible half, so nothing had to be moved away; what was begun is swept.
        assert workshop.names("quarantine") == []
        assert workshop.names("staging") == []
        for revision in revisions:
            assert await workshop.repository.verify(revision) == ()
        published = max([published, *(revision.number for revision in revisions)])
        # A number may be spent without a revision; the next one is past it all the same.
        first = published + 3 + published % 2
