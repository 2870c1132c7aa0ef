"""Runs an encoder's ONNX graph over texts of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from triton_backends.runtime.model_files import BrokenModel
from triton_backends.runtime.sessions import open_session
from triton_backends.runtime.triton import Array
from triton_backends.text_encoder.encoder_files import EncoderFacts
from triton_backends.text_encoder.tokenization import Tokens

_NEEDED = {"input_ids", "attention_mask"}
_INPUTS = _NEEDED | {"token_type_ids"}


class UnfitOutput(RuntimeError):
    """The graph gave something else than encoder.json says."""


class EncoderGraph:
    """The graph pools, normalizes and activates by itself."""

    def __init__(self, path: Path, facts: EncoderFacts, options: Any) -> None:
        self._facts = facts
        self._session = open_session(path, options)
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        _check_inputs({entry.name: entry.type for entry in self._session.get_inputs()})
        _check_outputs({entry.name: entry.type for entry in self._session.get_outputs()}, facts)

    def run(self, rows: Sequence[Tokens]) -> dict[str, Array]:
        """Shapes: texts of any length -> FP32[rows, dimensions] for each output. Raises: UnfitOutput."""
        shape = (len(rows), max(len(row.ids) for row in rows))
        feeds = {
            "input_ids": np.full(shape, self._facts.pad_token_id, np.int64),
            "attention_mask": np.zeros(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }
        for place, row in enumerate(rows):
            size = len(row.ids)
            feeds["input_ids"][place, :size] = row.ids
            feeds["attention_mask"][place, :size] = 1
            feeds["token_type_ids"][place, :size] = row.type_ids
        names = list(self._facts.outputs)
        results = self._session.run(names, {name: feeds[name] for name in self._inputs})
        for name, array in zip(names, results, strict=True):
            if array.shape != (len(rows), self._facts.dimensions):
                raise UnfitOutput(
                    f"output {name!r} has shape {list(array.shape)} for {len(rows)} texts; "
                    f"encoder.json says {self._facts.dimensions} dimensions"
                )
        return dict(zip(names, results, strict=True))


def _check_inputs(found: dict[str, str]) -> None:
    if not _NEEDED <= set(found) <= _INPUTS:
        raise BrokenModel(
            f"the graph must take input_ids, attention_mask and maybe token_type_ids, not {sorted(found)}"
        )
    for name, kind in found.items():
        if kind != "tensor(int64)":
            raise BrokenModel(f"input {name!r} of the graph must be tensor(int64), and is {kind}")


def _check_outputs(found: dict[str, str], facts: EncoderFacts) -> None:
    for name in facts.outputs:
        if found.get(name) != "tensor(float)":
            raise BrokenModel(
                f"the graph must give {name!r} as tensor(float) for {facts.task}; it gives "
                f"{', '.join(f'{name} {kind}' for name, kind in sorted(found.items()))}"
            )
