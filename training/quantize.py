"""8-bit weights for a graph of the onnxruntime-genai builder, the embedding included.

Run: python -m training.quantize FP32_GRAPH TARGET
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx

from converters.onnx_graphs.weight_only import Packing, WeightOnly

BITS, BLOCK = 8, 32


def quantize_graph(source: Path, target: Path) -> None:
    """Write `target`, one file, with every constant matrix in 8 bits.

    The output matrix is the embedding (they are tied), so its blocks are stored once and read by both.
    """
    model = onnx.load(source)
    WeightOnly(model.graph, Packing(BITS, BLOCK)).quantize()
    onnx.save(model, target)


if __name__ == "__main__":
    quantize_graph(Path(sys.argv[1]), Path(sys.argv[2]))
