"""A repository whose ONNX files nobody opens, and the directory of a small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.repository.directories import MLP_CONFIG, ONNX, Workshop, write_directory


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop.open(tmp_path / "state")


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    return write_directory(tmp_path / "mlp", {"config.pbtxt": MLP_CONFIG, "1/model.onnx": ONNX})
