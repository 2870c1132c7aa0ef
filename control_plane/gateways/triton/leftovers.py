"""What a life of Triton leaves that no process holds any more."""

from __future__ import annotations

import shutil

from control_plane.gateways.triton import shared_memory
from control_plane.gateways.triton.configuration import TritonConfig


def clean_up(config: TritonConfig) -> None:
    """Call only when no process of it lives."""
    shared_memory.clean(config.family())
    shutil.rmtree(config.environments, ignore_errors=True)
    config.record.unlink(missing_ok=True)
