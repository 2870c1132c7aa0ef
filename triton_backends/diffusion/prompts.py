"""Turns a prompt into the token ids that the text encoder takes."""

from __future__ import annotations

from triton_backends.runtime.parameters import InvalidParameter
from triton_backends.runtime.texts import decode_text, read_tokenizer
from triton_backends.runtime.triton import Array

# Counting the tokens of megabytes would hold up every other drawing; no language spends this much on a token.
CHARACTERS_PER_TOKEN = 1024


class Prompts:
    """`length_max`: tokens, special ones included."""

    def __init__(self, tokenizer_json: str, length_max: int) -> None:
        self._tokenizer = read_tokenizer(tokenizer_json)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._length_max = length_max

    def read(self, text_input: Array | None) -> list[int]:
        """Shapes: BYTES[1]. Raises: InvalidParameter."""
        if text_input is None or text_input.size != 1:
            raise InvalidParameter("text_input must hold exactly one text, BYTES[1]")
        text = decode_text("text_input", bytes(text_input.reshape(-1)[0]))
        if not text.strip():
            raise InvalidParameter("text_input is empty; say what to draw")
        if len(text) > self._length_max * CHARACTERS_PER_TOKEN:
            raise self._too_long(f"{len(text)} characters")
        ids: list[int] = self._tokenizer.encode(text).ids
        if not ids:
            raise InvalidParameter("text_input holds nothing that the model knows; say what to draw")
        if len(ids) > self._length_max:
            raise self._too_long(f"{len(ids)} tokens")
        return ids

    def _too_long(self, length: str) -> InvalidParameter:
        return InvalidParameter(f"text_input has {length}; the model reads at most {self._length_max} tokens")
