"""A package index of tiny wheels in a folder, and what is to be installed from it by the real pip."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.gateways.processes.environment import MadeEnvironment
from control_plane.gateways.processes.packages import Requirements
from tests.doubles.wheels import write_wheel

PINS = {"torch": "2.13.0", "transformers": "5.23.0", "onnx": "1.23.2", "onnxruntime": "1.31.1"}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both builds of torch are offered."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in {**PINS, "engines": "1.0"}.items():
        write_wheel(folder, name, version)
    write_wheel(folder, "torch", "2.13.0+cpu")
    return folder


@pytest.fixture(scope="session")
def requirements(tmp_path_factory: pytest.TempPathFactory) -> Requirements:
    folder = tmp_path_factory.mktemp("requirements")
    (folder / "requirements.txt").write_text("".join(f"{name}=={version}\n" for name, version in PINS.items()))
    (folder / "requirements-engines.txt").write_text("engines==1.0\n")
    return Requirements(folder)


@pytest.fixture
def offline(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip is configured as by a user without a network: only this folder."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


@pytest.fixture
def environment(tmp_path: Path, requirements: Requirements, offline: Path) -> MadeEnvironment:
    return MadeEnvironment(tmp_path / "converter", requirements, has_gpu=False)
