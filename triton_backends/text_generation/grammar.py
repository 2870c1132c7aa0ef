"""Constrains generation to a JSON schema or a regular expression, with llguidance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from triton_backends.runtime.parameters import InvalidParameter

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

# What json.dumps writes. With free whitespace a small model can write blanks until its tokens run out.
JSON_LAYOUT: JsonCompileOptions = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


class Grammars:
    """Compiles grammars for one tokenizer."""

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_token_ids: list[int]) -> None:
        self._source = (tokenizer_json, vocab_size, eos_token_ids)
        self._tokenizer: LLTokenizer | None = None

    def compile(self, grammar: str) -> GrammarConstraint:
        """Raises: InvalidParameter with the compiler's first line."""
        matcher = LLMatcher(self._vocabulary(), _source(grammar))
        if matcher.is_error():
            reason = matcher.get_error().strip().splitlines()[0]
            raise InvalidParameter(f"grammar is neither a JSON schema nor a regular expression we can follow: {reason}")
        return GrammarConstraint(matcher, self._source[1])

    def _vocabulary(self) -> LLTokenizer:
        # On first use: most models never see a grammar, and a large vocabulary takes a second.
        if self._tokenizer is None:
            tokenizer_json, vocab_size, eos_token_ids = self._source
            self._tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=eos_token_ids)
        return self._tokenizer


class GrammarConstraint:
    """One candidate's place in a grammar."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._bits = allocate_token_bitmask(1, vocab_size)

    def copy(self) -> GrammarConstraint:
        return GrammarConstraint(self._matcher.deep_copy(), self._vocab_size)

    def allowed(self) -> NDArray[np.bool_]:
        """Shapes: BOOL[vocabulary]. Raises: RuntimeError where the grammar became too complex to follow."""
        fill_next_token_bitmask(self._matcher, self._bits)
        self._check()
        flags = np.unpackbits(self._bits[0].view(np.uint8), bitorder="little", count=self._vocab_size)
        return flags.view(np.bool_)

    def accept(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)
        self._check()

    def finished(self) -> bool:
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RuntimeError(f"the grammar cannot be followed: {self._matcher.get_error().strip().splitlines()[0]}")


def _source(grammar: str) -> str:
    """A JSON object is a schema; anything else is a regular expression."""
    if not grammar.lstrip().startswith("{"):
        return LLMatcher.grammar_from_regex(grammar)
    try:
        json.loads(grammar)
    except ValueError as error:
        raise InvalidParameter(f"grammar begins like a JSON schema but is not JSON: {error}") from None
    return LLMatcher.grammar_from_json_schema(grammar, overrides=JSON_LAYOUT)
