"""Texts of just so many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from converters.recipe import Refused

# How far beside the wanted length a cut is tried: a word that is cut in two can become other tokens.
_STEPS = (0, 1, -1, 2, -2, 3, -3, 4, -4)
_JOINED_MAX = 4096


class Cutter:
    """Cuts out of the texts, begun anew where they end. Lengths count special tokens."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self._tokenizer, self._texts = tokenizer, texts
        self._special: int = tokenizer.num_special_tokens_to_add(False)

    def text(self, number: int, length: int) -> str:
        """What begins with the text of this number, of `length` tokens or as near as can be. Raises Refused."""
        wanted = max(1, length - self._special)
        joined, ends = self._joined(number, wanted + max(_STEPS))
        best = joined
        for step in _STEPS:
            cut = joined[: ends[min(max(0, wanted + step - 1), len(ends) - 1)]]
            if self._missed(cut, length) < self._missed(best, length):
                best = cut
            if not self._missed(best, length):
                break
        return best

    def _missed(self, text: str, length: int) -> int:
        return abs(len(self._tokenizer.encode(text).ids) - length)

    def _joined(self, number: int, tokens: int) -> tuple[str, list[int]]:
        """Enough text for so many tokens, and where in it each of them ends."""
        count = 1
        while True:
            joined = " ".join(self._texts[(number + place) % len(self._texts)] for place in range(count))
            encoding = self._tokenizer.encode(joined, add_special_tokens=False)
            if len(encoding.ids) >= tokens:
                return joined, [end for _, end in islice(encoding.offsets, tokens)]
            if count >= _JOINED_MAX:
                raise Refused(f"the texts are too short to make {tokens} tokens of them")
            count *= 2
