"""Files and functions stay small enough to read in one go (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "control_plane",
    "converters",
    "triton_backends",
    "training",
    "clients/python/tritonplane_client",
    "benchmarks",
)
FILE_LINES_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX = 300, 40, 8


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "pb" not in path.parts:
                yield path


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sorted(sources()), ids=identify)
def test_a_file_says_what_it_knows_and_stays_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)

    assert ast.get_docstring(tree), "every module starts with one sentence: what it knows"
    assert len(text.splitlines()) <= FILE_LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"
