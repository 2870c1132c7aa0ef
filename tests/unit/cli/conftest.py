"""The command line in this process, against the miniature server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from typer.testing import CliRunner, Result

from control_plane.cli.app import app
from tests.doubles.plane import KEY, Miniature, running_miniature


class Command(Protocol):
    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        """Runs `tritonplane ARGUMENTS`; the result has `stdout`, `stderr` and `exit_code`."""


@pytest.fixture(scope="session")
def miniature() -> Iterator[Miniature]:
    with running_miniature() as running:
        yield running


@pytest.fixture
def plane(miniature: Miniature) -> Miniature:
    miniature.reset()
    return miniature


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory as a server leaves it, with its admin key, and nothing of the real environment."""
    monkeypatch.delenv("TRITONPLANE_API_KEY", raising=False)
    monkeypatch.setenv("TRITONPLANE_STATE_DIR", str(tmp_path))
    key = tmp_path / "admin.key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    return tmp_path


@pytest.fixture
def command(plane: Miniature, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("TRITONPLANE_URL", plane.url)
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    return lambda *arguments, stdin=None: runner.invoke(app, list(arguments), input=stdin)
