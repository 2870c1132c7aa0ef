"""encoder.json of a text encoder's version directory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from triton_backends.runtime.model_files import BrokenModel, read_facts

FILE = "encoder.json"
# What the graph of each task gives, all FP32 [batch, dimensions].
OUTPUTS = {"embedding": ("embedding",), "classification": ("logits", "probabilities")}
LABEL = "label"
_LOWEST = {"max_tokens": 1, "pad_token_id": 0, "dimensions": 1}


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """encoder.json: exactly these keys. `labels` names a classifier's dimensions, and is null for an embedder."""

    task: str
    max_tokens: int
    pad_token_id: int
    dimensions: int
    labels: list[str] | None

    @property
    def outputs(self) -> tuple[str, ...]:
        return OUTPUTS[self.task]


def read_encoder(version_directory: Path) -> EncoderFacts:
    """Raises: BrokenModel."""
    document = read_facts(version_directory / FILE, {field.name for field in fields(EncoderFacts)})
    for key, lowest in _LOWEST.items():
        if type(document[key]) is not int or document[key] < lowest:
            raise BrokenModel(f"{FILE}: {key} must be a whole number of at least {lowest}, got {document[key]!r}")
    if document["task"] not in tuple(OUTPUTS):
        raise BrokenModel(f"{FILE}: task must be one of {sorted(OUTPUTS)}, got {document['task']!r}")
    _check_labels(document["labels"], EncoderFacts(**document))
    return EncoderFacts(**document)


def _check_labels(labels: object, facts: EncoderFacts) -> None:
    if facts.task == "embedding":
        if labels is not None:
            raise BrokenModel(f"{FILE}: labels must be null for an embedding")
        return
    fits = isinstance(labels, list) and len(labels) == facts.dimensions and all(isinstance(one, str) for one in labels)
    if not fits:
        raise BrokenModel(f"{FILE}: labels must be a list of {facts.dimensions} texts, one for each dimension")
