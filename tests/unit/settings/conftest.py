"""What every test of settings stands on: an environment and a working directory that say nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("TRITONPLANE_", "LLMGINE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
