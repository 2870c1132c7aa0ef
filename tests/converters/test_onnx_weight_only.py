"""Weights in fewer bits: what is packed, what is left, and how near the answers stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.checks.decoder import Decoder
from converters.contract import StepRequest
from converters.recipe import Refused
from tests.converters.conversions import checks, convert, model_file
from tests.converters.tiny_language_models import VOCABULARY, write_model

SHIPPED = Path(__file__).parents[2] / "model_repository/stdlib-coder"
WIDTH = 32


def operators(graph: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(graph).graph.node)


def write_graph(nodes: list[onnx.NodeProto], folder: Path, inputs: int = TensorProto.FLOAT) -> Path:
    """x -> y, with the matrices `a` [48, 32], `turned` [32, 48], `table` [64, 32] and the vector `bias` [32]."""
    random = np.random.default_rng(0)
    sizes = {"a": (48, WIDTH), "turned": (WIDTH, 48), "table": (64, WIDTH), "bias": (WIDTH,)}
    tensors = [
        numpy_helper.from_array(random.standard_normal(size).astype(np.float32), name) for name, size in sizes.items()
    ]
    x = helper.make_tensor_value_info("x", inputs, ["rows", 48] if inputs == TensorProto.FLOAT else ["rows"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", WIDTH])
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "model.onnx"
    )
    return folder / "model.onnx"


@pytest.mark.parametrize(("precision", "bits", "agreement"), [("q8", 8, 0.85), ("q4", 4, 0.2)])
@pytest.mark.parametrize("name", ["gpt2", "llama", "llama-tied", "phi3-long"])
def test_a_language_model_in_fewer_bits_still_answers(
    name: str, precision: str, bits: int, agreement: float, tmp_path: Path
) -> None:
    converted = convert(write_model(name, tmp_path / "source"), tmp_path / "work", precision=precision)

    assert converted.facts.dtype == f"int{bits}"
    assert sorted(path.name for path in model_file(converted).parent.iterdir()) == [
        "generation.json",
        "model.onnx",
        "tokenizer.json",
    ]
    assert {"MatMul", "Transpose"}.isdisjoint(operators(model_file(converted)))
    # Random weights of this spread are the worst case: nothing in them is redundant.
    assert checks(converted)["top1_agreement"] > agreement
    assert checks(converted)["perplexity_ratio"] == pytest.approx(1, abs=0.15)
    assert checks(converted)["incremental_difference"] < 0.05


@pytest.mark.parametrize("precision", ["q8", "q4"])
def test_a_tied_embedding_is_stored_once_and_in_8_bits(precision: str, tmp_path: Path) -> None:
    converted = convert(write_model("llama-tied", tmp_path / "source"), tmp_path / "work", precision=precision)

    graph = onnx.load(model_file(converted)).graph
    tables = [tensor for tensor in graph.initializer if VOCABULARY in tensor.dims and len(tensor.dims) == 3]
    assert [(tensor.data_type, list(tensor.dims)) for tensor in tables] == [(TensorProto.UINT8, [VOCABULARY, 1, WIDTH])]
    lookups = [node for node in graph.node if node.op_type == "GatherBlockQuantized"]
    assert len(lookups) == 1
    assert [node.input[1] for node in graph.node if "logits" in node.output] == [tables[0].name]


def test_the_number_of_weights_does_not_change(tmp_path: Path) -> None:
    source = write_model("llama-tied", tmp_path / "source")

    assert (
        convert(source, tmp_path / "q4", precision="q4").facts.parameters
        == convert(source, tmp_path / "fp32").facts.parameters
    )


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("block_size", [16, 32, 128])
def test_a_matrix_whose_rows_do_not_fill_a_block_is_padded(bits: int, block_size: int, tmp_path: Path) -> None:
    source = write_graph([helper.make_node("MatMul", ["x", "a"], ["y"])], tmp_path / "source")
    step = StepRequest("onnx_weight_only", {"bits": bits, "block_size": block_size})

    converted = convert(source, tmp_path / "work", step)

    assert operators(model_file(converted)) == {"MatMulNBits": 1}
    assert_near(source, converted_file=model_file(converted), bits=bits)


@pytest.mark.parametrize("bits", [8, 4])
def test_linear_layers_as_torch_writes_them_are_packed(bits: int, tmp_path: Path) -> None:
    linear = helper.make_node("Gemm", ["x", "turned", "bias"], ["y"], transB=1)
    source = write_graph([linear], tmp_path / "source")

    converted = convert(source, tmp_path / "work", StepRequest("onnx_weight_only", {"bits": bits}))

    assert operators(model_file(converted)) == {"MatMulNBits": 1, "Add": 1}
    assert_near(source, converted_file=model_file(converted), bits=bits)


def assert_near(source: Path, converted_file: Path, bits: int) -> None:
    rows = np.random.default_rng(1).standard_normal((5, 48), np.float32)
    before, after = (onnxruntime.InferenceSession(file).run(None, {"x": rows})[0] for file in (source, converted_file))
    assert np.abs(after - before).max() < {8: 0.02, 4: 0.3}[bits] * np.abs(before).max()
    assert not np.array_equal(after, before)


def test_two_products_with_one_matrix_share_its_blocks(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["first"]),
        helper.make_node("MatMul", ["x", "a"], ["second"]),
        helper.make_node("Add", ["first", "second"], ["y"]),
    ]

    converted = convert(write_graph(nodes, tmp_path / "source"), tmp_path / "work", "onnx_weight_only")

    assert len(onnx.load(model_file(converted)).graph.initializer) == 2


def test_the_rows_of_a_table_are_packed_in_8_bits(tmp_path: Path) -> None:
    source = write_graph([helper.make_node("Gather", ["table", "x"], ["y"])], tmp_path / "source", TensorProto.INT64)

    converted = convert(source, tmp_path / "work", StepRequest("onnx_weight_only", {"bits": 4}))

    ids = np.array([3, 0, 63], np.int64)
    before, after = (
        onnxruntime.InferenceSession(file).run(None, {"x": ids})[0] for file in (source, model_file(converted))
    )
    assert np.abs(after - before).max() < 0.02 * np.abs(before).max()


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gemm", ["x", "a", "bias"], ["y"], alpha=0.5),
        helper.make_node("ReduceMean", ["x"], ["y"]),
    ],
)
def test_a_graph_without_a_matrix_to_pack_is_refused(node: onnx.NodeProto, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nothing to quantize"):
        convert(write_graph([node], tmp_path / "source"), tmp_path / "work", "onnx_weight_only")


def test_the_shipped_model_is_what_its_source_converts_to(tmp_path: Path) -> None:
    converted = convert(SHIPPED / "source", tmp_path / "work", precision="q8")

    assert (converted.facts.parameters, converted.facts.dtype, converted.facts.context_length) == (
        5065472,
        "int8",
        1024,
    )
    made, shipped = model_file(converted).parent, SHIPPED / "1"
    for name in ("chat_template.jinja", "tokenizer.json"):
        assert (made / name).read_bytes() == (shipped / name).read_bytes()
    assert (made / "generation.json").read_text() == (shipped / "generation.json").read_text()
    ids = np.random.default_rng(0).integers(1, 4096, 100)
    before, after = Decoder(shipped).logits(ids), Decoder(made).logits(ids)
    assert np.abs(after - before).max() < 1e-3 * np.abs(before).max()
    assert checks(converted)["perplexity_ratio"] == pytest.approx(1, abs=0.01)
    assert checks(converted)["top1_agreement"] > 0.98
