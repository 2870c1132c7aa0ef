"""generation.json, which the `text_generation` backend opens beside the graph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from converters.onnx_graphs.files import first_line
from converters.recipe import Refused

FACTS = "generation.json"


@dataclass(frozen=True, slots=True)
class GenerationFacts:
    """Exactly these keys. `context_length` counts prompt and generated tokens together."""

    context_length: int
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    vocab_size: int
    num_hidden_layers: int
    num_key_value_heads: int
    head_size: int

    def write(self, folder: Path) -> None:
        (folder / FACTS).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


def read_facts(folder: Path) -> GenerationFacts:
    """Raises Refused."""
    try:
        given = json.loads((folder / FACTS).read_bytes())
        facts = GenerationFacts(**{**given, "eos_token_ids": tuple(given["eos_token_ids"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise Refused(f"{FACTS} of the language model cannot be read: {first_line(error)}") from error
    for field in fields(facts):
        if field.type == "int" and not _is_count(getattr(facts, field.name)):
            raise Refused(f"{FACTS} of the language model: {field.name} must be a whole number above 0")
    return facts


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0
