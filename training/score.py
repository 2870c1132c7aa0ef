"""How well a model predicts a text: loss by token, from torch or from the graph that ships."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

from training.windows import Stream

Floats = NDArray[np.float32]
# Token ids [1, length] in, logits [1, length, vocabulary] out.
Logits = Callable[[Stream], Floats]


@dataclass(frozen=True)
class Score:
    """What one model did on one stream.

    Shapes: both [windows, window]; `losses` in nats, `guesses` are the likeliest tokens.
    """

    losses: Floats
    guesses: Stream

    @property
    def loss(self) -> float:
        return float(self.losses.mean())

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss)

    def loss_between(self, first: int, last: int) -> float:
        """The mean loss at positions `first` to `last` (exclusive) of a window."""
        return float(self.losses[:, first:last].mean())


def score(logits_of: Logits, stream: Stream, window: int) -> Score:
    """Read a stream in windows that do not overlap; a rest shorter than a window is left out."""
    losses, guesses = [], []
    for ids in _windows(stream, window):
        logits = logits_of(ids[None, :-1])[0]
        targets = ids[1:]
        highest = logits.max(-1, keepdims=True)
        normalizer = np.log(np.exp(logits - highest).sum(-1, dtype=np.float64)) + highest[:, 0]
        losses.append(normalizer - logits[np.arange(window), targets])
        guesses.append(logits.argmax(-1))
    return Score(np.array(losses, np.float32), np.array(guesses, np.int64))


def _windows(stream: Stream, window: int) -> Iterator[Stream]:
    for start in range(0, len(stream) - window, window):
        yield stream[start : start + window + 1]


def torch_logits(model: LlamaForCausalLM) -> Logits:
    def logits_of(ids: Stream) -> Floats:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(ids)).logits)

    return logits_of
