"""A network that is mostly weights, so that 8 bits are a quarter of it: run in the converter environment.

`python -m tests.converters.make_wide_mlp FILE` writes FP32 [batch, 256] to FP32 [batch, 64].
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTHS = (256, 2048, 2048, 64)


def wide_mlp() -> onnx.ModelProto:
    """Products with a Relu after all but the last."""
    random = np.random.default_rng(26)
    weights, nodes, given = [], [], "features"
    for layer, (width_in, width_out) in enumerate(pairwise(WIDTHS)):
        matrix = random.standard_normal((width_in, width_out), np.float32) / np.float32(width_in**0.5)
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        product = "scores" if layer == len(WIDTHS) - 2 else f"product{layer}"
        nodes.append(helper.make_node("MatMul", [given, f"w{layer}"], [product]))
        given = f"active{layer}"
        nodes.append(helper.make_node("Relu", [product], [given]))
    graph = helper.make_graph(
        nodes[:-1],
        "wide",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", WIDTHS[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", WIDTHS[-1]])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


if __name__ == "__main__":
    onnx.save(wide_mlp(), Path(sys.argv[1]))
