"""These tests run in the conversion environment; in the server's, which has no torch, there is nothing to collect."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("torch") else ["*.py"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads wait longer for each other than models of this size compute."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def language_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Triton serves of a tiny Llama in full precision. Nobody writes into it."""
    from tests.converters.conversions import convert, model_file
    from tests.converters.tiny_language_models import write_model

    folder = tmp_path_factory.mktemp("llama")
    return model_file(convert(write_model("llama", folder / "source"), folder / "work")).parent
