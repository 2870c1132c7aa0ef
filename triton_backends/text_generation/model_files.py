"""The files of a text model's version directory besides the graph: generation.json and tokenizer.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path


class BrokenModel(ValueError):
    """A file of the model is missing or does not hold what it must."""


@dataclass(frozen=True, slots=True)
class GenerationFacts:
    """generation.json: exactly these keys. `context_length` counts prompt and generated tokens together."""

    context_length: int
    eos_token_ids: list[int]
    bos_token_id: int | None
    vocab_size: int
    num_hidden_layers: int
    num_key_value_heads: int
    head_size: int


def read_facts(version_directory: Path) -> GenerationFacts:
    """Raises: BrokenModel."""
    try:
        document = json.loads(read_text(version_directory / "generation.json"))
    except json.JSONDecodeError as error:
        raise BrokenModel(f"generation.json is not JSON: {error}") from None
    expected = {field.name for field in fields(GenerationFacts)}
    if set(document) != expected:
        different = sorted(set(document) ^ expected)
        raise BrokenModel(f"generation.json must have exactly the keys {sorted(expected)}; see {different}")
    return GenerationFacts(**document)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BrokenModel(f"{path.name}: {error.strerror}") from error
