"""Layers that a quantizer is told to keep, operators that it is told to take, and how it multiplies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from converters.contract import StepRequest
from converters.formats import Format
from converters.onnx_graphs.layers import layers_of, name_nodes
from converters.recipe import Refused
from converters.recipes import onnx_dynamic_int8, onnx_static_int8
from tests.converters.conversions import convert, model_file
from tests.converters.graphs import artifact, lookup, operators, perceptron, rows, run_recipe, write_graph
from tests.converters.tiny_language_models import VOCABULARY, write_model

ENCODERS = Path(__file__).parents[1] / "fixtures/tiny_text_encoders"


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perceptron(tmp_path_factory.mktemp("mlp"))


def constants(graph: Path) -> set[str]:
    return {tensor.name for tensor in onnx.load(graph).graph.initializer}


@pytest.mark.parametrize("recipe", ["onnx_dynamic_int8", "onnx_static_int8", "onnx_weight_only"])
def test_a_kept_layer_has_its_weights_as_they_were(recipe: str, mlp: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((16, 16), np.float32)
    calibration = rows(tmp_path / "c.npz", x=x)

    for layer, kept, packed in (("MatMul_3", "w2", "w1"), ("MatMul_0", "w1", "w2")):
        step = StepRequest(recipe, {"keep": layer})
        made = model_file(convert(mlp, tmp_path / layer, step, calibration=calibration))
        assert kept in constants(made)
        assert packed not in constants(made)

    with pytest.raises(Refused, match="keep names 'other', and the graph has no such layer"):
        convert(mlp, tmp_path / "none", StepRequest(recipe, {"keep": "MatMul_3, other"}), calibration=calibration)


def test_a_linear_layer_of_torch_is_kept_too(tmp_path: Path) -> None:
    folder = write_graph(
        tmp_path / "m",
        "g (float[batch, 8] x) => (float[batch, 8] y) "
        "{ a = Gemm<transB=1>(x, first, c) y = Gemm<transB=1>(a, second, c) }",
        first=np.eye(8, dtype=np.float32),
        second=np.eye(8, dtype=np.float32),
        c=np.ones(8, np.float32),
    )
    made = model_file(convert(folder, tmp_path / "work", StepRequest("onnx_dynamic_int8", {"keep": "Gemm_0"})))
    assert operators(made)["MatMulInteger"] == 1
    assert {"first", "second_quantized"} <= constants(made)


def test_nodes_without_a_name_of_their_own_get_one_that_is_always_the_same() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]> g (float[n] x) => (float[n] y) '
        "{ a = Neg(x) b = Neg(a) c = Neg(b) y = Neg(c) }"
    )
    for node, name in zip(model.graph.node, ("Neg_1", "", "Neg_1", "a,b"), strict=True):
        node.name = name
    name_nodes(model.graph)
    assert [node.name for node in model.graph.node] == ["Neg_1", "Neg_1_", "Neg_2", "Neg_3"]
    assert layers_of(model.graph) == []


def test_only_the_operators_that_are_named_are_quantized(tmp_path: Path) -> None:
    folder = lookup(tmp_path / "m")

    def quantized(name: str, **parameters: object) -> set[str]:
        made = run_recipe(onnx_dynamic_int8.RECIPE, artifact(folder), tmp_path / name, **parameters).graph
        return {constant for constant in constants(made) if constant.endswith("_quantized")}

    assert quantized("all") == {"table_quantized", "w_quantized"}
    assert quantized("products", operators="MatMul,Gemm") == {"w_quantized"}
    assert quantized("tables", operators="Gather") == {"table_quantized"}
    with pytest.raises(Refused, match="operators names 'Conv'; known are: MatMul, Gemm"):
        quantized("conv", operators="Conv")


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_histograms_are_made_of_texts(method: str, tmp_path: Path) -> None:
    source = artifact(ENCODERS / "embedding/1", Format.TEXT_ENCODER)
    made = run_recipe(onnx_static_int8.RECIPE, source, tmp_path / "made", method=method, samples=8)
    assert made.facts.labels["calibration_rows"] == "8"
    assert operators(made.graph)["QuantizeLinear"] > 0


def test_a_language_model_keeps_the_layer_of_its_answer_and_the_table_that_is_tied_to_it(tmp_path: Path) -> None:
    source = model_file(convert(write_model("llama-tied", tmp_path / "source"), tmp_path / "fp32")).parent

    made = model_file(convert(source, tmp_path / "work", StepRequest("onnx_weight_only", {"keep_output": True})))

    graph = onnx.load(made).graph
    assert [node.op_type for node in graph.node if "logits" in node.output] == ["MatMul"]
    assert [node.op_type for node in graph.node if "input_ids" in node.input] == ["Gather"]
    assert sum(VOCABULARY in tensor.dims for tensor in graph.initializer) == 1
    assert operators(made)["MatMulNBits"] == operators(source / "model.onnx")["MatMul"] - 1


@pytest.mark.parametrize("level", [4, 1])
def test_how_packed_weights_are_multiplied_is_a_choice(level: int, mlp: Path, tmp_path: Path) -> None:
    step = StepRequest("onnx_weight_only", {"accuracy_level": level, "keep": "MatMul_0", "keep_bits": 8, "bits": 4})

    nodes = [
        {attribute.name: attribute.i for attribute in node.attribute}
        for node in onnx.load(model_file(convert(mlp, tmp_path / "work", step))).graph.node
        if node.op_type == "MatMulNBits"
    ]

    assert [node["bits"] for node in nodes] == [8, 4]
    assert {node["accuracy_level"] for node in nodes} == {level}
