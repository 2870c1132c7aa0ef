"""A place for exported files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from control_plane.gateways.repository.exports import LocalExports


class TemporaryExports(LocalExports):
    """The real one; without a root, in a folder that is gone with this object."""

    def __init__(self, root: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        super().__init__(root or Path(self._temporary.name))
