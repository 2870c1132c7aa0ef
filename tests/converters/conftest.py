"""These tests run in the conversion environment; in the server's, which has no torch, there is nothing to collect."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("torch") else ["*.py"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads wait longer for each other than models of this size compute."""
    import torch

    torch.set_num_threads(1)
