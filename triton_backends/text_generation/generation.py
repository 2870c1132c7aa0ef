"""One request under way: its candidates, the text of each so far, and the responses that carry it to the caller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from triton_backends.runtime.tensors import bytes_array
from triton_backends.text_generation.detokenizer import Pieces
from triton_backends.text_generation.engines import interface
from triton_backends.text_generation.options import GenerationOptions
from triton_backends.text_generation.sampling import Sampled

Tensors = Mapping[str, NDArray[Any]]


class Reply(Protocol):
    """The way back to one caller."""

    cancelled: bool

    def send(self, tensors: Tensors, *, final: bool) -> None: ...
    def fail(self, message: str, code: str) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What token ids mean: the bytes of each, and those that end a text."""

    token_bytes: Sequence[bytes]
    eos_token_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Token:
    """One response's worth: a generated token and the text that became certain with it."""

    index: int
    text: str
    sampled: Sampled
    finish_reason: str


@dataclass(eq=False)
class Candidate:
    """One of the `n` texts of a generation."""

    number: int
    generation: Generation
    sequence: interface.Sequence
    pieces: Pieces
    tokens: int = 0

    def advance(self, sampled: Sampled, context_length: int) -> Token:
        ended = sampled.token_id in self.generation.vocabulary.eos_token_ids
        text = "" if ended else self.pieces.push(sampled.token_id)
        index, self.tokens = self.tokens, self.tokens + 1
        full = self.sequence.prompt.size + self.tokens >= context_length
        reason = ""
        if ended or self.pieces.stopped or self.sequence.sampler.finished():
            reason = "stop"
        elif full or self.tokens >= self.generation.options.max_tokens:
            reason = "length"
        if reason and not self.pieces.stopped:
            text += self.pieces.flush()
            reason = "stop" if self.pieces.stopped else reason
        return Token(index, text, sampled, reason)


@dataclass(eq=False)
class Generation:
    """A request's candidates; `deliver` sends their tokens one by one, or each whole when it ends."""

    options: GenerationOptions
    vocabulary: Vocabulary
    reply: Reply
    candidates: list[Candidate] = field(default_factory=list)
    _unfinished: int = 0
    _collected: dict[int, list[Token]] = field(default_factory=dict)

    def add(self, sequence: interface.Sequence) -> None:
        pieces = Pieces(self.vocabulary.token_bytes, self.options.stop)
        self.candidates.append(Candidate(len(self.candidates), self, sequence, pieces))
        self._unfinished += 1

    def deliver(self, candidate: Candidate, token: Token) -> None:
        self._unfinished -= bool(token.finish_reason)
        tokens = [token]
        if not self.options.stream:
            tokens = self._collected.setdefault(candidate.number, [])
            tokens.append(token)
        if self.options.stream or token.finish_reason:
            self.reply.send(self._tensors(candidate.number, tokens), final=not self._unfinished)

    def _tensors(self, candidate: int, tokens: list[Token]) -> Tensors:
        """Shapes: one element a token, but `finish_reason` and `candidate` [1]."""
        tensors = {
            "text_output": bytes_array([token.text for token in tokens]),
            "token_id": np.array([token.sampled.token_id for token in tokens], np.int32),
            "probability": np.array([token.sampled.probability for token in tokens], np.float32),
            "finish_reason": bytes_array([tokens[-1].finish_reason]),
            "index": np.array([token.index for token in tokens], np.int32),
            "candidate": np.array([candidate], np.int32),
        }
        if self.options.logprobs:
            tensors["top_logprobs"] = bytes_array([self._top_logprobs(token) for token in tokens])
        return tensors

    def _top_logprobs(self, token: Token) -> str:
        table = self.vocabulary.token_bytes
        return json.dumps(
            [
                {
                    "token_id": token_id,
                    "token": table[token_id].decode("utf-8", "replace") if token_id < len(table) else "",
                    "logprob": logprob,
                }
                for token_id, logprob in token.sampled.top_logprobs
            ]
        )
