"""8-bit weights for a graph of the onnxruntime-genai builder, the embedding included.

Run: python -m training.quantize FP32_GRAPH TARGET
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

BLOCK = 32
# 4 lets the kernel multiply in int8 (VNNI) instead of widening the weights to float.
ACCURACY_LEVEL = 4


def quantize_graph(source: Path, target: Path) -> None:
    """Write `target`, one file, with every constant MatMul as 8-bit MatMulNBits and an 8-bit embedding.

    The output matrix is the embedding (they are tied), so its blocks are stored once and read by both.
    """
    model = onnx.load(source)
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=ACCURACY_LEVEL)
    quantizer.process()
    quantized = quantizer.model.model
    share_embedding(quantized.graph)
    drop_unused_initializers(quantized.graph)
    onnx.save(quantized, target)


def share_embedding(graph: GraphProto) -> None:
    """Read the embedding's rows out of the quantized output matrix, in place of Transpose + Gather."""
    head = _producer(graph, "logits")
    gather = next(node for node in graph.node if node.op_type == "Gather" and node.input[1] == "input_ids")
    transpose = _producer(graph, gather.input[0])
    sizes = {attribute.name: attribute.i for attribute in head.attribute}
    rows = numpy_helper.from_array(np.array([sizes["N"], sizes["K"]], np.int64), "embedding.shape")
    graph.initializer.append(rows)
    # ONNX Runtime folds the Reshape at load; on disk there is one copy.
    flat = helper.make_node("Reshape", [head.input[1], rows.name], ["embedding.rows"], name="embedding/Reshape")
    scales = helper.make_node(
        "Reshape", [head.input[2], _blocks(graph, sizes)], ["embedding.scales"], name="embedding/ReshapeScales"
    )
    lookup = helper.make_node(
        "GatherBlockQuantized",
        ["embedding.rows", "input_ids", "embedding.scales"],
        list(gather.output),
        name="embedding/GatherBlockQuantized",
        domain="com.microsoft",
        bits=8,
        block_size=BLOCK,
        gather_axis=0,
        quantize_axis=1,
    )
    _replace(graph, [transpose, gather], [flat, scales, lookup])


def _blocks(graph: GraphProto, sizes: dict[str, int]) -> str:
    name = "embedding.scales.shape"
    graph.initializer.append(numpy_helper.from_array(np.array([sizes["N"], sizes["K"] // BLOCK], np.int64), name))
    return name


def _producer(graph: GraphProto, output: str) -> NodeProto:
    found: NodeProto = next(node for node in graph.node if output in node.output)
    return found


def _replace(graph: GraphProto, old: list[NodeProto], new: list[NodeProto]) -> None:
    names = {node.name for node in old}
    kept = [node for node in graph.node if node.name not in names]
    del graph.node[:]
    graph.node.extend([*new, *kept])


def drop_unused_initializers(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


if __name__ == "__main__":
    quantize_graph(Path(sys.argv[1]), Path(sys.argv[2]))
