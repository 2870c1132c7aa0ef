"""Which stretch of text is read at which step; a pure function of the seed, so that a resumed run reads the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.corpus import SourceFile
from training.tokenizer import END_OF_TEXT

Stream = NDArray[np.int64]
# How byte-level BPE writes a space.
SPACE = "\u0120"


def token_stream(files: Iterable[SourceFile], tokenizer: Tokenizer) -> Stream:
    """Return all files end to end; the separator stands before each, so that it also means "a file starts"."""
    separator = tokenizer.token_to_id(END_OF_TEXT)
    encoded = tokenizer.encode_batch([file.text for file in files])
    ids = [token for one in encoded for token in (separator, *one.ids)]
    return np.array([*ids, separator], np.int64)


def loosen_spaces(stream: Stream, tokenizer: Tokenizer, share: float, seed: int) -> Stream:
    """Return the same text with some words' leading spaces as tokens of their own.

    Otherwise only alignment ever follows a lone space, and a prompt such as `return ` is answered with nonsense.
    """
    tight = _without_space(tokenizer)
    loose = (tight[stream] >= 0) & (np.random.default_rng(seed).random(len(stream)) < share)
    spaces = np.where(loose, tokenizer.get_vocab()[SPACE], -1)
    pairs = np.stack([spaces, np.where(loose, tight[stream], stream)], axis=1)
    loosened: Stream = pairs[pairs >= 0]
    return loosened


def _without_space(tokenizer: Tokenizer) -> Stream:
    """The token that lacks the leading space, by token; -1 where there is none."""
    vocabulary = tokenizer.get_vocab()
    found = np.full(len(vocabulary), -1, np.int64)
    for token, number in vocabulary.items():
        if token.startswith(SPACE) and not token.startswith(SPACE * 2):
            found[number] = vocabulary.get(token[1:], -1)
    return found


@dataclass(frozen=True)
class Reader:
    """Reads batches whose rows come from the streams in turn, so that each stream has an equal share of tokens."""

    streams: tuple[Stream, ...]
    seed: int

    def batch(self, step: int, rows: int, length: int) -> torch.Tensor:
        """Return the token ids of one step.

        Shapes: [rows, length + 1]; inputs are `[:, :-1]`, targets `[:, 1:]`.
        """
        return torch.from_numpy(np.stack([self._row(step * rows + row, length) for row in range(rows)]))

    def _row(self, number: int, length: int) -> Stream:
        turn, which = divmod(number, len(self.streams))
        stream = self.streams[which]
        # One window is given up so that each pass may start at another offset.
        count = (len(stream) - 1) // length - 1
        around, place = divmod(turn, count)
        order, offset = _pass(self.seed, which, around, count, length)
        start = int(order[place]) * length + offset
        return stream[start : start + length + 1]


@lru_cache(maxsize=8)
def _pass(seed: int, which: int, around: int, count: int, length: int) -> tuple[Stream, int]:
    random = np.random.default_rng([seed, which, around, length])
    return random.permutation(count), int(random.integers(length))
