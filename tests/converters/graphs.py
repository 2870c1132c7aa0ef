"""Small ONNX graphs written by hand, and what calibrates them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.contract import Facts
from converters.formats import Artifact, Format
from converters.recipe import Recipe, Step


def run_recipe(recipe: Recipe, source: Artifact, target: Path, /, **parameters: object) -> Artifact:
    """One recipe by itself, without the checks of a conversion."""
    target.mkdir(parents=True)
    step = Step(source, target, recipe.settle(parameters), source, lambda fraction: None)
    facts = recipe.run(step)
    return Artifact(recipe.gives[source.format], target, facts)


def artifact(folder: Path, form: Format = Format.ONNX) -> Artifact:
    return Artifact(form, folder, Facts())


def write_graph(folder: Path, text: str, **weights: np.ndarray) -> Path:
    """A model.onnx of ONNX's own textual form; `weights` become initializers."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.save(model, folder / "model.onnx")
    return folder


def perceptron(folder: Path) -> Path:
    random = np.random.default_rng(0)
    return write_graph(
        folder,
        "g (float[batch, 16] x) => (float[batch, 4] y) "
        "{ a = MatMul(x, w1) b = Add(a, b1) c = Relu(b) y = MatMul(c, w2) }",
        w1=random.standard_normal((16, 32), np.float32) / 4,
        b1=random.standard_normal(32, np.float32),
        w2=random.standard_normal((32, 4), np.float32) / 6,
    )


def lookup(folder: Path) -> Path:
    """Most of its weights are a table; the product behind it is small."""
    random = np.random.default_rng(0)
    return write_graph(
        folder,
        "g (int64[batch, 4] ids) => (float[batch, 4, 2] y) { e = Gather(table, ids) y = MatMul(e, w) }",
        table=random.standard_normal((100, 8), np.float32),
        w=random.standard_normal((8, 2), np.float32),
    )


def external(folder: Path, location: str) -> Path:
    """A graph that wants to read its weights from `location`."""
    folder.mkdir()
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [16, 16], bytes(16 * 16 * 4), raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def operators(graph: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(graph).graph.node)


def rows(file: Path, **arrays: np.ndarray) -> str:
    np.savez(file, **arrays)
    return str(file)
