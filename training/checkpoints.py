"""States of a training that a later run goes on from, or that is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    # Written beside and renamed: a killed run leaves the last whole checkpoint.
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Nothing but tensors and plain values: no code of the file runs."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
