"""Writes tokenizer.json and encoder.json, which the `text_encoder` backend opens beside the graph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.onnx_graphs.files import first_line
from converters.recipe import Refused
from converters.text_encoders.source import positions

TOKENIZER, FACTS = "tokenizer.json", "encoder.json"
EMBEDDING, CLASSIFICATION = "embedding", "classification"


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """encoder.json: exactly these keys. `labels` names a classifier's dimensions."""

    task: str
    max_tokens: int
    pad_token_id: int
    dimensions: int
    labels: tuple[str, ...] | None = None

    def write(self, folder: Path) -> None:
        (folder / FACTS).write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


def read_facts(folder: Path) -> EncoderFacts:
    """Raises Refused."""
    try:
        given = json.loads((folder / FACTS).read_bytes())
        labels = None if given.get("labels") is None else tuple(given["labels"])
        facts = EncoderFacts(**{**given, "labels": labels})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{FACTS} of the text encoder cannot be read: {first_line(error)}") from error
    if facts.task not in (EMBEDDING, CLASSIFICATION):
        raise Refused(f"{FACTS} of the text encoder: task must be {EMBEDDING} or {CLASSIFICATION}")
    if type(facts.max_tokens) is not int or facts.max_tokens < 1 or type(facts.pad_token_id) is not int:
        raise Refused(f"{FACTS} of the text encoder: max_tokens and pad_token_id must be whole numbers")
    return facts


def token_limit(tokenizer: Any, config: Any, said: int | None) -> int:
    """The smallest of what sentence-transformers, the tokenizer and the table of positions allow."""
    limits = [positions(config), tokenizer.model_max_length, *([] if said is None else [said])]
    limit = int(min(limits))
    needed = tokenizer.num_special_tokens_to_add() + 1
    if limit < needed:
        raise Refused(f"the model takes at most {limit} tokens, and a text of one word needs {needed}")
    return limit


def pad_token_id(tokenizer: Any, config: Any) -> int:
    """Padding is masked, but models that number positions from it need the very id."""
    for owner in (tokenizer, config):
        if getattr(owner, "pad_token_id", None) is not None:
            return int(owner.pad_token_id)
    return 0


def write_tokenizer(tokenizer: Any, folder: Path, *, is_lowered: bool, vocabulary: int) -> None:
    """Padding and truncation are switched off: they are the backend's, by encoder.json and by request.

    `is_lowered`: texts are lowered first, whatever the tokenizer itself does. Raises: Refused.
    """
    from tokenizers import Tokenizer, normalizers

    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= vocabulary:
        raise Refused(f"the tokenizer is another model's: it has the token id {highest}, the model {vocabulary} tokens")
    fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    fast.no_padding()
    fast.no_truncation()
    if is_lowered:
        own = [] if fast.normalizer is None else [fast.normalizer]
        fast.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    (folder / TOKENIZER).write_text(fast.to_str(), "utf-8")
