"""One text through the exported graph, token by token, with its key-value cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tokens = NDArray[np.int64]


class Graph:
    """A served version directory, opened on the CPU."""

    def __init__(self, version: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(version / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.facts: dict[str, Any] = json.loads((version / "generation.json").read_text(encoding="utf-8"))
        self.outputs = [output.name for output in self.session.get_outputs()]

    def empty_cache(self) -> dict[str, Floats]:
        shape = (1, self.facts["num_key_value_heads"], 0, self.facts["head_size"])
        names = [one.name for one in self.session.get_inputs() if one.name.startswith("past_key_values.")]
        return {name: np.zeros(shape, np.float32) for name in names}

    def logits(self, ids: Tokens) -> Floats:
        """Read a whole text at once. Shapes: [1, length] to [1, length, vocabulary]."""
        return Reading(self).read(ids)


class Reading:
    """The state of one text: everything read so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.cache = graph.empty_cache()
        self.length = 0

    def read(self, ids: Tokens) -> Floats:
        """Read more tokens of the text; return the logits after each of them."""
        self.length += ids.shape[1]
        mask = np.ones((1, self.length), np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, **self.cache}
        results = dict(zip(self.graph.outputs, self.graph.session.run(None, feed), strict=True))
        self.cache = {name: results[name.replace("past_key_values", "present")] for name in self.cache}
        return np.asarray(results["logits"])
