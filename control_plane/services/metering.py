"""What every revision has done in the second that is open: counted on the hot path, read once a second."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.domain.models import Revision
from control_plane.domain.rollups import Work


class Meter:
    """Holds revisions that had traffic in this second only, so it is never larger than the catalog."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Revision, Work]] = {}

    def of(self, revision: Revision) -> Work:
        """Where to count an inference of the revision that ends now."""
        metered = self._open.get(revision.directory)
        if metered is None:
            metered = self._open[revision.directory] = (revision, Work())
        return metered[1]

    def open(self) -> Sequence[tuple[Revision, Work]]:
        return list(self._open.values())

    def close(self) -> Sequence[tuple[Revision, Work]]:
        """The second that was open; the next one begins empty."""
        closed, self._open = self._open, {}
        return list(closed.values())
