"""Text to try models on, without any file to ship: the documentation strings of the Python standard library.

Deterministic for one version of Python; which one it was stands in the record of each conversion (`tools`).
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

_LENGTH_MIN, _LENGTH_MAX = 80, 600


def sentences() -> Iterator[str]:
    """Prose: paragraphs of docstrings in a fixed order, each once. No more modules are read than are asked for."""
    seen: set[str] = set()
    for text in _modules():
        for paragraph in _paragraphs(text):
            if paragraph not in seen:
                seen.add(paragraph)
                yield paragraph


def sources(count: int) -> list[str]:
    """Code: the beginnings of modules."""
    return [text[:4000] for text in islice(_modules(), count)]


def _modules() -> Iterator[str]:
    folder = Path(sysconfig.get_path("stdlib"))
    return (path.read_text("utf-8", errors="ignore") for path in sorted(folder.glob("[a-z]*.py")))


def _paragraphs(text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                words = " ".join(paragraph.split())
                if _LENGTH_MIN <= len(words) <= _LENGTH_MAX and ">>>" not in words:
                    yield words
