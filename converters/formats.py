"""The forms a model can have between two recipes, each a folder with known files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from converters.contract import Facts

GRAPH, WEIGHTS = "model.onnx", "model.safetensors"
TORCH_FILES = {"torchscript": "model.pt", "torch_export": "model.pt2"}
_CHUNK_BYTES = 2**20


class Format(StrEnum):
    """What is in the folder."""

    CAUSAL_LM = "hf_causal_lm"  # Hugging Face: config.json, *.safetensors, tokenizer.json
    ENCODER = "hf_encoder"  # Hugging Face or sentence-transformers: text to a vector
    CLASSIFIER = "hf_classifier"  # Hugging Face: text to a label
    TORCHSCRIPT = "torchscript"  # model.pt
    TORCH_EXPORT = "torch_export"  # model.pt2
    ONNX = "onnx"  # model.onnx, its weights in it or beside it
    TEXT_GENERATION = "text_generation"  # what that backend opens: model.onnx, tokenizer.json, generation.json
    TEXT_ENCODER = "text_encoder"  # what that backend opens: model.onnx, tokenizer.json, encoder.json
    TENSORRT = "tensorrt"  # model.plan
    SAFETENSORS = "safetensors"  # model.safetensors: the weights of a graph, by their names there


# Formats whose heart is a model.onnx: a recipe from graph to graph takes any of them and keeps the files beside it.
GRAPHS = frozenset({Format.ONNX, Format.TEXT_GENERATION, Format.TEXT_ENCODER})


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model in one format. Nobody changes the files of an artifact that is made."""

    format: Format
    directory: Path
    facts: Facts

    @property
    def graph(self) -> Path:
        return self.directory / GRAPH

    def files(self) -> Iterator[str]:
        """Relative paths of all files, sorted."""
        found = (path.relative_to(self.directory) for path in self.directory.rglob("*") if path.is_file())
        yield from sorted(path.as_posix() for path in found)

    def digests(self) -> dict[str, str]:
        """SHA-256 in hex by relative path."""
        return {path: sha256_of(self.directory / path) for path in self.files()}


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
