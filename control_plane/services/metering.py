"""What every revision has done of late and is not recorded yet: counted on the hot path, taken once a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from control_plane.domain.models import Revision
from control_plane.domain.rollups import Rollup, Work

HELD_MAX = 2000  # seconds with traffic, over all revisions; beyond, the oldest are given up


class Meter:
    """Holds what ended since it was last taken, by the second. `now_s`: epoch seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._second_s = int(now_s())
        self._open: dict[str, Rollup] = {}
        self._over: deque[Rollup] = deque(maxlen=HELD_MAX)

    def of(self, revision: Revision) -> Work:
        """Where to count an inference of the revision that ends now."""
        second_s = int(self._now_s())
        if second_s != self._second_s:
            self._turn(second_s)
        rollup = self._open.get(revision.directory)
        if rollup is None:
            rollup = Rollup(revision.model, revision.number, second_s, Work())
            self._open[revision.directory] = rollup
        return rollup.work

    def look(self) -> Sequence[Rollup]:
        return [*self._over, *self._open.values()]

    def take(self) -> Sequence[Rollup]:
        """What it holds, the second that is not over included; it begins anew, empty."""
        self._turn(self._second_s)
        taken = list(self._over)
        self._over.clear()
        return taken

    def _turn(self, second_s: int) -> None:
        self._over.extend(self._open.values())
        self._open = {}
        self._second_s = second_s
