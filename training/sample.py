"""What the served graph writes after a prompt; the plainest sampling there is, for the model card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.session import Graph, Reading

# Chosen before any output of the model was seen, and unchanged since: the card shows what comes.
PROMPTS = (
    "def main(",
    "class Queue:\n    def __init__(self):\n        self.",
    "import os\nimport sys\n\n\ndef read_file(path):\n    ",
    'def add(a, b):\n    """Return the sum of a and b."""\n    return',
    "for i in range(10):\n    ",
    "if __name__ == ",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "try:\n    import json\nexcept ",
    "    def test_empty(self):\n        self.assert",
    '"""Read',
)


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; a temperature of 0 always takes the likeliest."""

    temperature: float
    top_p: float = 0.9
    seed: int = 0
    max_tokens: int = 64


def complete(graph: Graph, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> str:
    """Return the prompt's continuation.

    Nothing stands before the prompt, as in serving: training windows start anywhere in a file too.
    """
    choose = _chooser(sampling)
    reading = Reading(graph)
    logits = reading.read(np.array([tokenizer.encode(prompt).ids], np.int64))
    written: list[int] = []
    while len(written) < sampling.max_tokens:
        token = choose(logits[0, -1])
        if token in graph.facts["eos_token_ids"]:
            break
        written.append(token)
        logits = reading.read(np.array([[token]], np.int64))
    return str(tokenizer.decode(written))


def _chooser(sampling: Sampling) -> Callable[[NDArray[np.float32]], int]:
    random = np.random.default_rng(sampling.seed)

    def choose(logits: NDArray[np.float32]) -> int:
        if sampling.temperature == 0:
            return int(logits.argmax())
        scaled = np.exp((logits - logits.max()).astype(np.float64) / sampling.temperature)
        order = np.argsort(-scaled)
        likely = scaled[order] / scaled.sum()
        # The smallest set of tokens whose chances reach top_p, never none.
        kept = int((likely.cumsum() < sampling.top_p).sum()) + 1
        return int(random.choice(order[:kept], p=likely[:kept] / likely[:kept].sum()))

    return choose
