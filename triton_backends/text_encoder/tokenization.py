"""Turns texts into token ids within the model's limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.parameters import InvalidParameter
from triton_backends.runtime.texts import read_tokenizer
from triton_backends.text_encoder.encoder_files import FILE, EncoderFacts

# Counting the tokens of megabytes would hold up every other request; no language spends this much on a token.
CHARACTERS_PER_TOKEN = 1024


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text, special tokens included. `type_ids` are for graphs that take `token_type_ids`."""

    ids: list[int]
    type_ids: list[int]


class TextTokenizer:
    """Counts a text's tokens, or cuts it at the model's limit; which of them is up to each request."""

    def __init__(self, tokenizer_json: str, facts: EncoderFacts) -> None:
        self._facts = facts
        self._max_characters = facts.max_tokens * CHARACTERS_PER_TOKEN
        self._whole, self._cutting = read_tokenizer(tokenizer_json), read_tokenizer(tokenizer_json)
        direction = (self._cutting.truncation or {}).get("direction", "right")
        special = self._whole.num_special_tokens_to_add(False)
        if facts.max_tokens <= special:
            raise BrokenModel(f"{FILE}: max_tokens must be more than the {special} special tokens of every text")
        self._whole.no_truncation()
        self._cutting.enable_truncation(facts.max_tokens, direction=direction.lower())
        for tokenizer in (self._whole, self._cutting):
            tokenizer.no_padding()

    def encode(self, requests: Sequence[Sequence[str]], *, truncate: bool) -> list[list[Tokens] | InvalidParameter]:
        """The tokens of each request's texts, or what is wrong with one of them; all are tokenized together."""
        outcomes = [self._prepared(texts, truncate) for texts in requests]
        texts = [text for outcome in outcomes if isinstance(outcome, list) for text in outcome]
        try:
            tokens = iter(self._tokens(texts, truncate))
        except Exception:  # One by one, to find out whose fault it is; the library raises nothing narrower.
            return [self._alone(outcome, truncate) for outcome in outcomes]
        return [
            self._checked([next(tokens) for _ in outcome]) if isinstance(outcome, list) else outcome
            for outcome in outcomes
        ]

    def _prepared(self, texts: Sequence[str], truncate: bool) -> list[str] | InvalidParameter:
        if truncate:
            return [text[: self._max_characters] for text in texts]
        for row, text in enumerate(texts):
            if len(text) > self._max_characters:
                return self._too_long(row, f"{len(text)} characters, too many to count their tokens")
        return list(texts)

    def _alone(self, texts: list[str] | InvalidParameter, truncate: bool) -> list[Tokens] | InvalidParameter:
        if isinstance(texts, InvalidParameter):
            return texts
        try:
            return self._checked(self._tokens(texts, truncate))
        except Exception as problem:
            return InvalidParameter(f"text_input cannot be tokenized: {problem}")

    def _tokens(self, texts: list[str], truncate: bool) -> list[Tokens]:
        tokenizer = self._cutting if truncate else self._whole
        encodings = tokenizer.encode_batch_fast(texts)
        # A tokenizer without special tokens has none for an empty text, and no graph runs on nothing.
        return [Tokens(one.ids or [self._facts.pad_token_id], one.type_ids or [0]) for one in encodings]

    def _checked(self, rows: list[Tokens]) -> list[Tokens] | InvalidParameter:
        for row, tokens in enumerate(rows):
            if len(tokens.ids) > self._facts.max_tokens:
                return self._too_long(row, f"{len(tokens.ids)} tokens")
        return rows

    def _too_long(self, row: int, size: str) -> InvalidParameter:
        return InvalidParameter(
            f"text_input[{row}] has {size}; the model takes at most {self._facts.max_tokens} tokens: "
            "shorten it, or send the request parameter truncate: true to have only its beginning read"
        )
