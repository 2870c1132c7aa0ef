"""The import rules hold, and each of them catches a violation that is planted for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("control_plane", "converters", "triton_backends")
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"

# contract -> (file to plant in, the line)
VIOLATIONS = {
    "layers": ("control_plane/domain/paging.py", "import control_plane.services.catalog"),
    "no-gateways-outside-bootstrap": ("control_plane/edge/tallies.py", "import control_plane.gateways.clock"),
    "settings": ("control_plane/services/health.py", "import control_plane.settings"),
    "cli-is-a-client": ("control_plane/cli/console.py", "import control_plane.gateways.clock"),
    "dialects-independent": (
        "control_plane/dialects/kserve/mapping.py",
        "import control_plane.dialects.truthgpt.mapping",
    ),
    "gateways-independent": ("control_plane/gateways/clock.py", "import control_plane.gateways.credentials"),
    "pure-core": ("control_plane/services/health.py", "import httpx"),
    "triton-client-home": ("control_plane/dialects/kserve/grpc.py", "import tritonclient"),
    "dbos-home": ("control_plane/gateways/state/keys.py", "import dbos"),
    "no-frameworks-in-control-plane": ("control_plane/gateways/clock.py", "import onnxruntime"),
    "converter-is-alone": ("converters/inspection.py", "import control_plane.domain.models"),
    "backends-are-alone": ("triton_backends/probe/model.py", "import converters.contract"),
    "control-plane-sees-contract-only": (
        "control_plane/gateways/processes/converter.py",
        "import converters.plans",
    ),
    "control-plane-not-backends": ("control_plane/gateways/clock.py", "import triton_backends.runtime"),
    "contract-is-stdlib": ("converters/contract/lines.py", "import numpy"),
    "backends-independent": ("triton_backends/probe/model.py", "import triton_backends.onnxruntime.model"),
    "acyclic": ("control_plane/domain/errors.py", "import control_plane.domain.references"),
}


def lint(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [LINT_IMPORTS, "--no-cache", "--config", ROOT / ".importlinter", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def contracts() -> list[str]:
    lines = (ROOT / ".importlinter").read_text().splitlines()
    return [line.removeprefix("[importlinter:contract:").rstrip("]") for line in lines if ":contract:" in line]


def test_the_tree_keeps_every_rule() -> None:
    kept = lint(ROOT)
    assert kept.returncode == 0, kept.stdout


def test_every_rule_has_a_planted_violation() -> None:
    assert sorted(contracts()) == sorted(VIOLATIONS)


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_planted_violation_is_caught(contract: str, tmp_path: Path) -> None:
    file, line = VIOLATIONS[contract]
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.onnx"))
    planted = tmp_path / file
    planted.write_text(f"{planted.read_text()}\n{line}\n")

    broken = lint(tmp_path, "--contract", contract)

    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "BROKEN" in broken.stdout
