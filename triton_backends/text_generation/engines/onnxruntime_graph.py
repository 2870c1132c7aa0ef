"""Runs a decoder graph of the onnxruntime-genai builder on onnxruntime, with one shared key-value buffer per layer.

The graph's GroupQueryAttention reads and writes the buffers in place: the past and the present of a layer are bound to
the same memory, so that nothing is copied from one step to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_backends.runtime.sessions import open_session
from triton_backends.text_generation.model_files import GenerationFacts
from triton_backends.text_generation.sampling import Logits

_TYPES: dict[str, type[np.generic]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(slots=True)
class _StepBinding:
    """What a decode step over a fixed number of rows is bound to, kept from step to step."""

    io: Any
    token_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    logits: NDArray[Any]


class DecoderGraph:
    """A session and its caches of `rows` x context."""

    def __init__(self, path: Path, facts: GenerationFacts, rows: int, options: Any) -> None:
        self.rows = rows
        self._facts = facts
        self._session = open_session(path, options)
        inputs = {entry.name: entry.type for entry in self._session.get_inputs()}
        self._takes_positions = "position_ids" in inputs
        self._logits_type = _TYPES[self._session.get_outputs()[0].type]
        shape = (rows, facts.num_key_value_heads, facts.context_length, facts.head_size)
        # Zeros come from the kernel page by page: memory is used as texts grow, never more than this.
        self._caches = {name: np.zeros(shape, _TYPES[inputs[name]]) for name in inputs if name.startswith("past")}
        self._steps: dict[int, _StepBinding] = {}

    @property
    def cache_bytes(self) -> int:
        """The most memory the key-value caches can grow to."""
        return sum(cache.nbytes for cache in self._caches.values())

    def prefill(self, row: int, token_ids: NDArray[np.int64], past: int) -> Logits:
        """Read more of one row's prompt. Shapes: INT64[tokens] -> FP32[vocabulary] after the last of them."""
        io = self._session.io_binding()
        logits = np.empty((1, token_ids.size, self._facts.vocab_size), self._logits_type)
        # Named, because a binding holds no reference: both arrays must live until the run is over.
        positions = np.arange(past, past + token_ids.size, dtype=np.int64)[None]
        chunk = np.ascontiguousarray(token_ids[None])
        self._bind(io, chunk, positions, logits, row)
        self._bind_mask(io, [past + token_ids.size])
        self._session.run_with_iobinding(io)
        last: Logits = logits[0, -1].astype(np.float32)
        return last

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int], row: int = 0) -> Logits:
        """Add one token to each of the rows from `row` on. Shapes: -> FP32[rows, vocabulary], valid until the next."""
        step = self._step(len(token_ids), row)
        step.token_ids[:, 0] = token_ids
        step.positions[:, 0] = lengths
        self._bind_mask(step.io, [length + 1 for length in lengths])
        self._session.run_with_iobinding(step.io)
        return step.logits[:, 0].astype(np.float32, copy=False)

    def copy_row(self, source: int, target: int, length: int) -> None:
        for cache in self._caches.values():
            cache[target, :, :length] = cache[source, :, :length]

    def _step(self, rows: int, row: int) -> _StepBinding:
        if row == 0 and rows in self._steps:
            return self._steps[rows]
        step = _StepBinding(
            self._session.io_binding(),
            np.zeros((rows, 1), np.int64),
            np.zeros((rows, 1), np.int64),
            np.empty((rows, 1, self._facts.vocab_size), self._logits_type),
        )
        self._bind(step.io, step.token_ids, step.positions, step.logits, row)
        if row == 0:
            self._steps[rows] = step
        return step

    def _bind(self, io: Any, token_ids: NDArray[Any], positions: NDArray[Any], logits: NDArray[Any], row: int) -> None:
        _bind_array(io.bind_input, "input_ids", token_ids)
        if self._takes_positions:
            _bind_array(io.bind_input, "position_ids", positions)
        _bind_array(io.bind_output, "logits", logits)
        for name, cache in self._caches.items():
            rows = cache[row : row + token_ids.shape[0]]
            _bind_array(io.bind_input, name, rows)
            _bind_array(io.bind_output, "present" + name.removeprefix("past_key_values"), rows)

    def _bind_mask(self, io: Any, totals: Sequence[int]) -> None:
        mask = np.zeros((len(totals), max(totals)), np.int64)
        for row, total in enumerate(totals):
            mask[row, :total] = 1
        # Unlike bind_input this one keeps the array alive.
        io.bind_cpu_input("attention_mask", mask)


def _bind_array(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
