"""What is pinned in two places is pinned alike."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("extra", ["tensorrt", "tensorrt-rtx"])
def test_an_extra_of_the_converter_environment_pins_what_its_requirements_do(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / f"converters/requirements-{extra}.txt").read_text().splitlines()
    assert project["optional-dependencies"].get(extra) == [line for line in lines if not line.startswith("#")]
