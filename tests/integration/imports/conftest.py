"""A server with an import root that holds a source of every kind, and what each source itself answers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.product import CONVERTER_PYTHON, ServerProcess, lent_converter

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Sources:
    """`folder` holds them by name; `expected` is what they answer."""

    folder: Path
    expected: dict[str, Any]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("sources")
    command = [CONVERTER_PYTHON, "-m", "tests.converters.make_sources", str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    return Sources(folder, json.loads((folder / "expected.json").read_text()))


@pytest.fixture(scope="session")
def importing(tmp_path_factory: pytest.TempPathFactory, sources: Sources) -> Iterator[ServerProcess]:
    """One for all tests that import under names of their own."""
    state = tmp_path_factory.mktemp("importing") / "state"
    settings = {"IMPORT_ROOT": str(sources.folder), **lent_converter(state)}
    server = ServerProcess(state, settings).start().wait_ready()
    yield server
    assert server.stop() == 0, server.log[-4000:]
