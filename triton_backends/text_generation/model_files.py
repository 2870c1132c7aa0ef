"""generation.json of a text model's version directory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from triton_backends.runtime import model_files


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
    keys = {field.name for field in fields(GenerationFacts)}
    return GenerationFacts(**model_files.read_facts(version_directory / "generation.json", keys))
