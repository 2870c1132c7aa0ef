"""The small files of a model's version directory; whatever is wrong with one is said with its name."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any


class BrokenModel(ValueError):
    """A file of the model is missing or does not hold what it must."""


def read_text(path: Path) -> str:
    """Raises: BrokenModel."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BrokenModel(f"{path.name}: {error.strerror}") from error


def read_facts(path: Path, keys: Collection[str]) -> dict[str, Any]:
    """A JSON object of exactly these keys. Raises: BrokenModel."""
    try:
        document = json.loads(read_text(path))
    except ValueError as error:
        raise BrokenModel(f"{path.name} is not JSON: {error}") from None
    if not isinstance(document, dict) or set(document) != set(keys):
        different = sorted(set(document) ^ set(keys)) if isinstance(document, dict) else type(document).__name__
        raise BrokenModel(f"{path.name} must have exactly the keys {sorted(keys)}; see {different}")
    return document
