"""What a language model says of each next token of a text, without the logits, which would fill the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.checks.decoder import Logits, TokenIds
from converters.checks.measures import choices

# Logits that are widened to 64 bits at a time: 64 of them over 150,000 tokens are 77 MB.
_POSITIONS = 64


@dataclass(frozen=True, slots=True)
class Predictions:
    """The likeliest next token, and minus the logarithm of the probability of the one that comes.

    Shapes: both [predictions]; the last position of a text has no next token and is left out.
    """

    choices: NDArray[np.int64]
    losses: NDArray[np.float64]

    def agreement(self, other: Predictions) -> float:
        return float((self.choices == other.choices).mean())

    def perplexity_ratio(self, baseline: Predictions) -> float:
        return float(np.exp(self.losses.mean() - baseline.losses.mean()))


def predictions(logits: Logits, text: TokenIds) -> Predictions:
    """Shapes: FP32[tokens, vocabulary], INT64[tokens]."""
    losses = [
        _losses(logits[start : start + _POSITIONS][: text.size - 1 - start], text[start + 1 : start + 1 + _POSITIONS])
        for start in range(0, text.size - 1, _POSITIONS)
    ]
    return Predictions(choices(logits[:-1]), np.concatenate(losses or [np.empty(0)]))


def joined(parts: Sequence[Predictions]) -> Predictions:
    return Predictions(np.concatenate([one.choices for one in parts]), np.concatenate([one.losses for one in parts]))


def _losses(logits: Logits, following: TokenIds) -> NDArray[np.float64]:
    scores = logits.astype(np.float64)
    scores -= scores.max(-1, keepdims=True)
    chosen = np.take_along_axis(scores, following[:, None], -1)[:, 0]
    losses: NDArray[np.float64] = np.log(np.exp(scores).sum(-1)) - chosen
    return losses
