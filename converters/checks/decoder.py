"""Runs a text model's graph as the text_generation backend does: past and present share one buffer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.causal_lm.files import read_facts
from converters.formats import GRAPH
from converters.onnx_graphs.sessions import open_session
from converters.recipe import OutOfTolerance

Logits = NDArray[np.float32]
TokenIds = NDArray[np.int64]
_TYPES: dict[str, type[np.generic]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Decoder:
    """One row of text at a time. Raises: Refused, OutOfTolerance where onnxruntime cannot run the graph here."""

    def __init__(self, directory: Path) -> None:
        facts = read_facts(directory)
        self.context_length, self.vocab_size = facts.context_length, facts.vocab_size
        try:
            self._session = open_session(directory / GRAPH)
        except RuntimeError as error:
            raise OutOfTolerance(f"onnxruntime cannot open the graph here: {_reason(error)}") from error
        self._inputs = {entry.name: entry.type for entry in self._session.get_inputs()}
        self._logits_type = _TYPES[self._session.get_outputs()[0].type]
        self._rows = facts.num_key_value_heads, facts.head_size

    def logits(self, token_ids: TokenIds, pieces: Sequence[int] | None = None) -> Logits:
        """Read one text, whole or in pieces of these lengths. Shapes: INT64[tokens] -> FP32[tokens, vocabulary]."""
        heads, size = self._rows
        # No longer than the text: a context of 128k tokens would need gigabytes.
        shape = (1, heads, token_ids.size, size)
        caches = {name: np.zeros(shape, _TYPES[self._inputs[name]]) for name in self._inputs if name.startswith("past")}
        past, found = 0, []
        for count in pieces or (token_ids.size,):
            found.append(self._read(token_ids[past : past + count], past, caches))
            past += count
        return np.concatenate(found)

    def _read(self, token_ids: TokenIds, past: int, caches: dict[str, NDArray[Any]]) -> Logits:
        io = self._session.io_binding()
        logits = np.empty((1, token_ids.size, self.vocab_size), self._logits_type)
        given = {"input_ids": np.ascontiguousarray(token_ids[None])}
        if "position_ids" in self._inputs:
            given["position_ids"] = np.arange(past, past + token_ids.size, dtype=np.int64)[None]
        for name, array in {**given, **caches}.items():
            _bind(io.bind_input, name, array)
        _bind(io.bind_output, "logits", logits)
        for name, cache in caches.items():
            _bind(io.bind_output, "present" + name.removeprefix("past_key_values"), cache)
        io.bind_cpu_input("attention_mask", np.ones((1, past + token_ids.size), np.int64))
        try:
            self._session.run_with_iobinding(io)
        except RuntimeError as error:
            raise OutOfTolerance(f"onnxruntime cannot run the graph here: {_reason(error)}") from error
        read: Logits = logits[0].astype(np.float32)
        return read


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    # A binding holds no reference: the caller keeps every array until the run is over.
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
