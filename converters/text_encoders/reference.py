"""What an encoder or classifier answers by transformers, with pooling computed apart from what is exported."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.formats import Artifact, Format
from converters.text_encoders.sentence_modules import Layout, Stage, read_layout
from converters.text_encoders.source import open_model, open_tokenizer

Array = NDArray[Any]
_ERF = np.vectorize(math.erf, otypes=[np.float64])
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": lambda x: x * 0.5 * (1 + _ERF(x / math.sqrt(2))),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
_NORM_EPSILON = 1e-5  # torch.nn.LayerNorm's


class Reference:
    """The source, opened as transformers opens it. Raises Refused."""

    def __init__(self, original: Artifact, max_tokens: int) -> None:
        self._is_classifier = original.format is Format.CLASSIFIER
        self._layout = Layout(original.directory) if self._is_classifier else read_layout(original.directory)
        folder = self._layout.transformer
        self._tokenizer = open_tokenizer(folder)
        self._tokenizer.padding_side = "right"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(0)
        self._model = open_model(folder, "AutoModelForSequenceClassification" if self._is_classifier else "AutoModel")
        self._max_tokens = max_tokens

    def __call__(self, texts: Sequence[str]) -> Array:
        """Embeddings, or a classifier's logits: FP64[texts, dimensions]."""
        import torch

        given = [text.lower() for text in texts] if self._layout.is_lowered else list(texts)
        fed = self._tokenizer(given, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt")
        with torch.no_grad():
            found = self._model(**fed, return_dict=True)
        if self._is_classifier:
            return np.asarray(found.logits.numpy(), np.float64)
        hidden = found.last_hidden_state.numpy().astype(np.float64)
        return embeddings(hidden, fed["attention_mask"].numpy(), self._layout)


def embeddings(hidden: Array, attention_mask: Array, layout: Layout) -> Array:
    """Text by text, over its real tokens alone.

    Shapes: [texts, tokens, width], [texts, tokens] -> [texts, dimensions].
    """
    rows = []
    for states, mask in zip(hidden, attention_mask, strict=True):
        real = states[mask == 1]
        row = np.concatenate([_pool(mode, real) for mode in layout.poolings])
        for stage in layout.stages:
            row = _staged(stage, row)
        rows.append(row)
    return np.stack(rows)


def _pool(mode: str, real: Array) -> Array:
    weights = np.arange(1, len(real) + 1, dtype=np.float64)
    pooled: dict[str, Callable[[], Array]] = {
        "cls": lambda: real[0],
        "max": lambda: real.max(axis=0),
        "mean": lambda: real.mean(axis=0),
        "mean_sqrt_len_tokens": lambda: real.sum(axis=0) / math.sqrt(len(real)),
        "weightedmean": lambda: np.average(real, axis=0, weights=weights),
        "lasttoken": lambda: real[-1],
    }
    return pooled[mode]()


def _staged(stage: Stage, row: Array) -> Array:
    if stage.weights is None:
        return row / max(float(np.linalg.norm(row)), 1e-12)
    from safetensors.numpy import load_file

    tensors = {name.partition(".")[2]: array.astype(np.float64) for name, array in load_file(stage.weights).items()}
    if stage.kind == "LayerNorm":
        scaled = (row - row.mean()) / math.sqrt(row.var() + _NORM_EPSILON)
        return np.asarray(scaled * tensors["weight"] + tensors["bias"])
    return _ACTIVATIONS[stage.activation](tensors["weight"] @ row + tensors.get("bias", 0.0))
