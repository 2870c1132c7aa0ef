"""One execute: the requests that Triton hands over together, and what becomes of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from triton_backends.runtime.parameters import InvalidParameter, boolean, parse_parameters, refuse_unknown
from triton_backends.runtime.tensors import inputs_by_name
from triton_backends.runtime.texts import decode_text
from triton_backends.runtime.triton import Array, Request
from triton_backends.text_encoder.batches import by_length
from triton_backends.text_encoder.graph import EncoderGraph
from triton_backends.text_encoder.tokenization import TextTokenizer, Tokens

_PARAMETERS = {"truncate": boolean}
# How often callers are asked for between two runs: it is a round trip to the Triton process for each.
POLL_S = 0.02


@dataclass(eq=False, slots=True)
class Piece:
    """One request: its texts, and either the outputs' rows or a failure (message, Triton's code)."""

    request: Request
    texts: list[str] = field(default_factory=list)
    truncate: bool = False
    outputs: dict[str, Array] = field(default_factory=dict)
    failure: tuple[str, str] | None = None

    @classmethod
    def read(cls, request: Request) -> Piece:
        try:
            parameters = parse_parameters(request.parameters())
            refuse_unknown(parameters, _PARAMETERS)
            truncate = boolean("truncate", parameters.get("truncate", False))
            raw = inputs_by_name(request)["text_input"].reshape(-1)
            texts = [decode_text(f"text_input[{row}]", bytes(text)) for row, text in enumerate(raw)]
            if not texts:
                raise InvalidParameter("text_input holds no text; send one a row, BYTES[rows, 1]")
            return cls(request, texts, truncate)
        except InvalidParameter as error:
            return cls(request, failure=(str(error), "INVALID_ARG"))

    def poll(self) -> None:
        if self.failure is None and self.request.is_cancelled():
            self.failure = ("the caller left", "CANCELLED")

    def put(self, row: int, outputs: Mapping[str, Array], place: int) -> None:
        for name, array in outputs.items():
            if name not in self.outputs:
                self.outputs[name] = np.empty((len(self.texts), array.shape[1]), np.float32)
            self.outputs[name][row] = array[place]


@dataclass(frozen=True, slots=True)
class Row:
    """A text of a request, tokenized."""

    piece: Piece
    number: int
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Encoder:
    """Brings all texts of all requests through the graph in batches of about one length."""

    tokenizer: TextTokenizer
    graph: EncoderGraph
    max_batch_tokens: int
    clock: Callable[[], float] = time.monotonic

    def encode(self, pieces: Sequence[Piece]) -> None:
        """Every piece has its outputs afterwards, or a failure of its own."""
        polled_s = self.clock()
        rows = self._tokenize(pieces)
        for places in by_length([len(row.tokens.ids) for row in rows], self.max_batch_tokens):
            batch = [rows[place] for place in places]
            if self.clock() - polled_s > POLL_S:
                for piece in {row.piece for row in batch}:
                    piece.poll()
                polled_s = self.clock()
            self._run([row for row in batch if row.piece.failure is None])

    def _tokenize(self, pieces: Sequence[Piece]) -> list[Row]:
        rows: list[Row] = []
        for truncate in (False, True):
            group = [piece for piece in pieces if piece.failure is None and piece.truncate is truncate]
            tokenized = self.tokenizer.encode([piece.texts for piece in group], truncate=truncate)
            for piece, outcome in zip(group, tokenized, strict=True):
                if isinstance(outcome, InvalidParameter):
                    piece.failure = (str(outcome), "INVALID_ARG")
                else:
                    rows.extend(Row(piece, number, tokens) for number, tokens in enumerate(outcome))
        return rows

    def _run(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        try:
            outputs = self.graph.run([row.tokens for row in rows])
        except Exception as problem:
            self._run_apart(rows, problem)
            return
        for place, row in enumerate(rows):
            row.piece.put(row.number, outputs, place)

    def _run_apart(self, rows: Sequence[Row], problem: Exception) -> None:
        """One by one, to find out whose fault it is."""
        if len(rows) == 1:
            rows[0].piece.failure = (f"the model failed: {str(problem).splitlines()[0]}", "INTERNAL")
            return
        for row in rows:
            self._run([row])
