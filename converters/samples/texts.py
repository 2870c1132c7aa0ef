"""Text to try models on, without any file to ship: the documentation strings of the Python standard library.

Deterministic for one version of Python; which one it was stands in the record of each conversion (`tools`). What a
model is tuned on is never what it is judged on, so the modules are split in two by a hash of their names.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cache
from itertools import islice
from pathlib import Path

_LENGTH_MIN, _LENGTH_MAX = 80, 600
# Of 256 values of the hash: calibration wants 128 paragraphs, judging a few hundred and long texts besides.
_TUNING_BUCKETS = 96


class Part(StrEnum):
    """What a module's text may be used for."""

    TUNING = "tuning"  # all that shapes a model: calibrated ranges, the search for layers that are sensitive
    EVALUATION = "evaluation"  # all that judges one: the checks of a conversion, the accuracy of a candidate


def sentences(part: Part = Part.TUNING) -> Iterator[str]:
    """Prose: paragraphs of docstrings in a fixed order, each once. No more modules are read than are asked for."""
    seen: set[str] = set()
    if part is Part.EVALUATION:  # modules copy from each other
        seen.update(_tuning_sentences())
    for text in _modules(part):
        for paragraph in _paragraphs(text):
            if paragraph not in seen:
                seen.add(paragraph)
                yield paragraph


def sources(count: int, part: Part = Part.TUNING) -> list[str]:
    """Code: the beginnings of modules."""
    return [text[:4000] for text in islice(_modules(part), count)]


def of_many_lengths(texts: Iterable[str], lengths: int) -> list[str]:
    """Each cut to one of so many lengths in turn, as texts that a model is asked about have many."""
    return [text[: len(text) * (number % lengths + 1) // lengths] for number, text in enumerate(texts)]


@cache
def _tuning_sentences() -> frozenset[str]:
    return frozenset(sentences(Part.TUNING))


def part_of(module: str) -> Part:
    bucket = hashlib.sha256(module.encode()).digest()[0]
    return Part.TUNING if bucket < _TUNING_BUCKETS else Part.EVALUATION


def _modules(part: Part) -> Iterator[str]:
    folder = Path(sysconfig.get_path("stdlib"))
    chosen = (path for path in sorted(folder.glob("[a-z]*.py")) if part_of(path.stem) is part)
    return (path.read_text("utf-8", errors="ignore") for path in chosen)


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
