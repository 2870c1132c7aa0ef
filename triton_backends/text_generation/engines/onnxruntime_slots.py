"""The default engine: rows of one batch, each a text at its own length; a text enters and leaves at any step.

Rows 0..n-1 decode together; when one leaves, the last takes its place. One prompt at a time is read in chunks between
the steps, in a row of its own, so that a long prompt neither stalls the texts under way nor is changed by them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from triton_backends.runtime.model_files import BrokenModel
from triton_backends.text_generation.engines.interface import Failed, Produced, Sequence
from triton_backends.text_generation.engines.onnxruntime_graph import DecoderGraph
from triton_backends.text_generation.model_files import GenerationFacts
from triton_backends.text_generation.sampling import Logits

# Prompt tokens read between two decode steps: larger is faster for one prompt, smaller is smoother for the others.
PREFILL_CHUNK = 128


@dataclass(eq=False, slots=True)
class _Row:
    """A sequence's place in the batch: `length` tokens are in its cache, `token_id` comes next."""

    sequence: Sequence
    index: int
    length: int = 0
    token_id: int = 0
    prompt_logits: Logits | None = None


class SlotEngine:
    """Satisfies `interface.Engine`."""

    def __init__(self, graph: DecoderGraph, facts: GenerationFacts) -> None:
        self.slots = graph.rows
        self.context_length = facts.context_length
        self._graph = graph
        self._waiting: deque[Sequence] = deque()
        self._reading: _Row | None = None
        self._rows: list[_Row] = []
        try:
            self.decodes_all_rows = not rows_are_independent(graph, facts)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise BrokenModel(f"the graph does not run with a shared key-value buffer: {reason}") from None

    def submit(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)

    def step(self) -> list[Produced | Failed]:
        return [*self._decode(), *self._prefill()]

    def cancel(self, sequence: Sequence) -> None:
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        elif self._reading is not None and self._reading.sequence is sequence:
            self._reading = None
        else:
            for row in self._rows:
                if row.sequence is sequence:
                    self._free(row)
                    return

    def _free(self, row: _Row) -> None:
        last = self._rows.pop()
        if last is not row:
            self._move(last, row.index)
            self._rows[row.index] = last

    def _move(self, row: _Row, index: int) -> None:
        self._graph.copy_row(row.index, index, row.length)
        row.index = index

    def _decode(self) -> list[Produced | Failed]:
        rows = list(self._rows)
        if not rows:
            return []
        try:
            logits = self._graph.decode(*self._batch(rows))
        except Exception as error:
            # The caches of all rows are now in doubt.
            return [Failed(row.sequence, f"the model failed: {error}") for row in rows]
        for row in rows:
            row.length += 1
        return [self._sample(row, logits[row.index]) for row in rows]

    def _batch(self, rows: list[_Row]) -> tuple[list[int], list[int]]:
        token_ids = [row.token_id for row in rows]
        lengths = [row.length for row in rows]
        if self.decodes_all_rows:
            idle = [0] * (self.slots - len(rows))
            token_ids, lengths = token_ids + idle, lengths + idle
            if self._reading is not None:
                # An idle row writes its next cache entry too: there, the next chunk overwrites it.
                lengths[self._reading.index] = self._reading.length
        return token_ids, lengths

    def _prefill(self) -> list[Produced | Failed]:
        row = self._reading or self._next_row()
        if row is None:
            return []
        try:
            done = self._read(row)
        except Exception as error:
            self._reading = None
            return [Failed(row.sequence, f"the model failed on the prompt: {error}")]
        self._reading = None if done else row
        return [self._start(row)] if done else []

    def _next_row(self) -> _Row | None:
        if not self._waiting or len(self._rows) >= self.slots:
            return None
        return _Row(self._waiting.popleft(), len(self._rows))

    def _read(self, row: _Row) -> bool:
        """Read the next chunk of the prompt; true when all of it is in the cache."""
        prompt = row.sequence.prompt
        twin = next((other for other in self._rows if other.sequence.prompt is prompt), None)
        if twin is not None and row.length == 0:
            self._graph.copy_row(twin.index, row.index, prompt.size)
            row.length, row.prompt_logits = prompt.size, twin.prompt_logits
            return True
        chunk = prompt[row.length : row.length + PREFILL_CHUNK]
        logits = self._graph.prefill(row.index, chunk, row.length)
        row.length += chunk.size
        if row.length < prompt.size:
            return False
        row.prompt_logits = logits
        return True

    def _start(self, row: _Row) -> Produced | Failed:
        if row.index != len(self._rows):
            self._move(row, len(self._rows))
        self._rows.append(row)
        assert row.prompt_logits is not None
        return self._sample(row, row.prompt_logits)

    def _sample(self, row: _Row, logits: Logits) -> Produced | Failed:
        try:
            sampled = row.sequence.sampler.choose(logits)
        except Exception as error:
            return Failed(row.sequence, str(error))
        row.token_id = sampled.token_id
        return Produced(row.sequence, sampled)


def rows_are_independent(graph: DecoderGraph, facts: GenerationFacts) -> bool:
    """Whether each row's logits are the same bits alone and in a batch of any size, on this machine with this model.

    Matrix kernels may add in another order for one row than for several. Where they do, every step runs all rows, so
    that a text does not depend on how many others are under way.
    """
    token_ids = [1 + row % (facts.vocab_size - 1) for row in range(graph.rows)]
    lengths = [1 + (5 * row) % min(40, facts.context_length - 2) for row in range(graph.rows)]
    for row, length in enumerate(lengths):
        graph.prefill(row, np.arange(row, row + length, dtype=np.int64) % facts.vocab_size, 0)
    alone = [graph.decode([token_ids[row]], [lengths[row]], row)[0].copy() for row in range(graph.rows)]
    for count in range(1, graph.rows + 1):
        together = graph.decode(token_ids[:count], lengths[:count])
        if not all(np.array_equal(together[row], alone[row]) for row in range(count)):
            return False
    return True
