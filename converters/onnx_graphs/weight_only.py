"""Weights in 8 or 4 bits, in blocks along the axis that is summed; what is computed keeps its type.

Constant matrices become MatMulNBits, rows of tables GatherBlockQuantized. A table that is the transposed output matrix
(tied embeddings) is stored once and read by both, in 8 bits always: it is where 4 bits cost most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.onnx_graphs.layers import PRODUCTS

MICROSOFT = "com.microsoft"
TABLE_BITS = 8


@dataclass(frozen=True, slots=True)
class Packing:
    """How weights are packed: `bits` each, `block_size` of them under one scale.

    `accuracy_level` 4 lets the kernel multiply in int8 (VNNI), 1 widens the weights to float. Products in `keep` have
    `keep_bits` instead; 0: they stay as they are.
    """

    bits: int
    block_size: int
    accuracy_level: int = 4
    keep: frozenset[str] = frozenset()
    keep_bits: int = 0

    def bits_of(self, node: str) -> int:
        return self.keep_bits if node in self.keep else self.bits


class WeightOnly:
    """One graph on its way to fewer bits, changed in place."""

    def __init__(self, graph: Any, packing: Packing) -> None:
        self._graph, self._packing, self._block_size = graph, packing, packing.block_size
        self._weights = {tensor.name: tensor for tensor in graph.initializer if _is_matrix(tensor)}
        self._packed: dict[tuple[str, int], tuple[str, str]] = {}

    def quantize(self) -> int:
        """How many matrices and tables were packed."""
        tied = self._tied_tables()
        nodes: list[Any] = []
        for node in self._graph.node:
            nodes += self._packed_node(node, tied)
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        drop_unused(self._graph)
        return len(self._packed)

    def _packed_node(self, node: Any, tied: dict[str, str]) -> list[Any]:
        if node.op_type == "Gather" and node.input[0] in tied:
            return self._table(node, *self._pack(tied[node.input[0]], TABLE_BITS))
        if self._is_table(node):
            return self._table(node, *self._pack_rows(node.input[0], TABLE_BITS))
        if self._is_product(node):
            bits = TABLE_BITS if node.input[1] in tied.values() else self._packing.bits_of(node.name)
            return self._matrix(node, bits) if node.op_type == "MatMul" else self._product_and_sum(node, bits)
        return [node]

    def _tied_tables(self) -> dict[str, str]:
        """Each table that a matrix becomes when it is turned, and that matrix."""
        factors = {node.input[1] for node in self._graph.node if self._is_product(node)}
        return {
            node.output[0]: node.input[0]
            for node in self._graph.node
            if node.op_type == "Transpose"
            and node.input[0] in factors
            and self._fits(node.input[0], axis=0)
            and all(list(entry.ints) == [1, 0] for entry in node.attribute)
        }

    def _is_product(self, node: Any) -> bool:
        is_product = node.op_type in PRODUCTS and not node.domain and node.input[1] in self._weights
        return is_product and self._packing.bits_of(node.name) > 0

    def _is_table(self, node: Any) -> bool:
        is_table = node.op_type == "Gather" and node.input[0] in self._weights and _axis(node) == 0
        return is_table and self._fits(node.input[0], axis=1)

    def _fits(self, weight: str, axis: int) -> bool:
        """Rows end with a block, as GatherBlockQuantized wants them; MatMulNBits pads by itself."""
        return bool(self._weights[weight].dims[axis] % self._block_size == 0)

    def _matrix(self, node: Any, bits: int) -> list[Any]:
        rows, columns = self._weights[node.input[1]].dims
        packed = self._pack(node.input[1], bits)
        return [self._product(node, node.output[0], [node.input[0], *packed], (rows, columns, bits))]

    def _product_and_sum(self, node: Any, bits: int) -> list[Any]:
        """A Gemm as torch writes a linear layer; another one (scaled, turned) stays as it is."""
        from onnx import helper

        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            return [node]
        is_turned = bool(attributes.get("transB", 0))
        first, second = self._weights[node.input[1]].dims
        sizes = (second, first, bits) if is_turned else (first, second, bits)
        packed = self._pack_rows(node.input[1], bits) if is_turned else self._pack(node.input[1], bits)
        if len(node.input) < 3 or not node.input[2]:
            return [self._product(node, node.output[0], [node.input[0], *packed], sizes)]
        product = f"{node.output[0]}/product"
        added = helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{product}/Add")
        return [self._product(node, product, [node.input[0], *packed], sizes), added]

    def _product(self, node: Any, output: str, inputs: list[str], sizes: tuple[int, int, int]) -> Any:
        from onnx import helper

        rows, columns, bits = sizes
        return helper.make_node(
            "MatMulNBits",
            inputs,
            [output],
            name=f"{node.name}_Q{bits}" if node.name else "",
            domain=MICROSOFT,
            K=rows,
            N=columns,
            bits=bits,
            block_size=self._block_size,
            accuracy_level=self._packing.accuracy_level,
        )

    def _table(self, gather: Any, packed: str, scales: str) -> list[Any]:
        """The packed blocks as rows again; onnxruntime folds the two Reshape at load, on disk there is one copy."""
        from onnx import helper

        name = f"{packed}/rows"
        rows = self._constant(f"{name}.shape", np.array([0, -1], np.int64))
        flat = helper.make_node("Reshape", [packed, rows], [name], name=f"{name}/Reshape")
        lookup = helper.make_node(
            "GatherBlockQuantized",
            [name, gather.input[1], scales],
            list(gather.output),
            name=f"{gather.name}_Q{TABLE_BITS}" if gather.name else "",
            domain=MICROSOFT,
            bits=TABLE_BITS,
            block_size=self._block_size,
            gather_axis=0,
            quantize_axis=1,
        )
        return [flat, lookup]

    def _pack(self, weight: str, bits: int) -> tuple[str, str]:
        """Names of blocks UINT8[columns, blocks, bytes] and scales [columns, blocks] of a matrix [rows, columns]."""
        from onnx import numpy_helper

        if (weight, bits) not in self._packed:
            matrix = numpy_helper.to_array(self._weights[weight])
            self._packed[weight, bits] = self._store(weight, bits, matrix)
        return self._packed[weight, bits]

    def _pack_rows(self, table: str, bits: int) -> tuple[str, str]:
        """The same of a matrix that is stored turned: a table, or what torch keeps of a linear layer."""
        from onnx import numpy_helper

        key = (f"{table}.T", bits)
        if key not in self._packed:
            rows = np.ascontiguousarray(numpy_helper.to_array(self._weights[table]).T)
            self._packed[key] = self._store(f"{table}.T", bits, rows)
        return self._packed[key]

    def _store(self, name: str, bits: int, matrix: NDArray[Any]) -> tuple[str, str]:
        blocks, scales = pack(matrix, bits, self._block_size)
        return self._constant(f"{name}_Q{bits}", blocks), self._constant(f"{name}_scales{bits}", scales)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        if all(tensor.name != name for tensor in self._graph.initializer):
            self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def pack(matrix: NDArray[Any], bits: int, block_size: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Symmetric blocks. Shapes: [rows, columns] -> UINT8[columns, blocks, bytes], scales[columns, blocks]."""
    from onnxruntime.capi import _pybind_state as kernels

    rows, columns = matrix.shape
    blocks = -(-rows // block_size)
    padded = np.pad(matrix, ((0, blocks * block_size - rows), (0, 0)))
    packed = np.zeros((columns, blocks, block_size * bits // 8), np.uint8)
    scales = np.zeros((columns, blocks), padded.dtype)
    points = np.zeros((columns, -(-blocks * bits // 8)), np.uint8)
    quantize = {4: kernels.quantize_matmul_4bits, 8: kernels.quantize_matmul_8bits}[bits]
    quantize(packed, padded, scales, points, block_size, columns, padded.shape[0], True)
    return packed, scales


def drop_unused(graph: Any) -> None:
    """Remove nodes and weights that nothing reads any more."""
    wanted = {output.name for output in graph.output}
    for node in list(reversed(graph.node)):
        if wanted.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            wanted.update(_read_by(node))
    kept = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _read_by(node: Any) -> Iterator[str]:
    """Names that a node reads, those that the graphs inside it (If, Loop) take from outside among them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _read_by(inner)


def _is_matrix(tensor: Any) -> bool:
    from onnx import TensorProto

    return len(tensor.dims) == 2 and tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16) and all(tensor.dims)


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 0)
