"""Quantizing but for the layers that it damages: a planted bad layer is the one that is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from converters.contract import StepRequest
from converters.formats import Format
from converters.recipe import Refused
from converters.recipes import onnx_sensitivity
from tests.converters.conversions import checks, convert, model_file
from tests.converters.graphs import artifact, operators, rows, run_recipe, write_graph
from tests.converters.tiny_language_models import write_model

ENCODERS = Path(__file__).parents[1] / "fixtures/tiny_text_encoders"
WIDTH, LAYERS = 16, 5


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products in a row; before the third, one value of 16 is made so large that 8 bits leave nothing of the others."""
    random = np.random.default_rng(0)
    weights = {f"w{n}": random.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 4 for n in range(LAYERS)}
    spread = np.ones(WIDTH, np.float32)
    spread[0] = 3000
    weights["w2"] /= spread[:, None]
    return write_graph(
        tmp_path_factory.mktemp("planted"),
        "g (float[batch, 16] x) => (float[batch, 16] y) { a = MatMul(x, w0) b = MatMul(a, w1) c = Mul(b, spread) "
        "d = MatMul(c, w2) e = MatMul(d, w3) y = MatMul(e, w4) }",
        spread=spread,
        **weights,
    )


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> str:
    x = np.random.default_rng(1).standard_normal((64, WIDTH)).astype(np.float32)
    return rows(tmp_path_factory.mktemp("rows") / "c.npz", x=x)


def kept_products(graph: Path) -> list[str]:
    """The weights of the products that are as they were."""
    return [node.input[1] for node in onnx.load(graph).graph.node if node.op_type in ("MatMul", "Gemm")]


@pytest.mark.parametrize("base", ["dynamic_int8", "static_int8"])
def test_the_layer_that_quantizing_ruins_is_kept(base: str, planted: Path, calibration: str, tmp_path: Path) -> None:
    step = StepRequest("onnx_sensitivity", {"base": base, "target": 0.9})

    converted = convert(planted, tmp_path / "work", step, calibration=calibration)

    labels = converted.facts.labels
    assert (labels["layers_kept"], labels["kept"]) == ("1 of 5", "MatMul_3")
    assert 1 + LAYERS < int(labels["tries"]) <= 20
    assert float(labels["tuning_accuracy"]) >= 0.9
    assert checks(converted)["tensor_agreement"] > 0.9
    assert "w2" in kept_products(model_file(converted))
    assert converted.facts.dtype == "int8"
    spoiled = convert(planted, tmp_path / "all", StepRequest("onnx_dynamic_int8"), calibration=calibration)
    assert checks(spoiled)["tensor_agreement"] < 0.8


def test_a_language_model_keeps_what_it_takes_and_the_rest_has_4_bits(tmp_path: Path) -> None:
    source = artifact(
        model_file(convert(write_model("llama", tmp_path / "source"), tmp_path / "fp32")).parent, Format.TEXT_GENERATION
    )
    plain = run_recipe(
        onnx_sensitivity.RECIPE, source, tmp_path / "plain/files", base="weight_only_q4", target=0.0
    ).facts.labels
    assert (plain["layers_kept"].split()[0], plain["kept"], plain["tries"]) == ("0", "", "1")
    target = round((1 + float(plain["tuning_accuracy"])) / 2, 4)

    made = run_recipe(onnx_sensitivity.RECIPE, source, tmp_path / "made/files", base="weight_only_q4", target=target)

    kept = made.facts.labels["kept"].split(",")
    nodes = [node for node in onnx.load(made.graph).graph.node if node.op_type == "MatMulNBits"]
    bits = {
        node.name.rpartition("_Q")[0]: attribute.i
        for node in nodes
        for attribute in node.attribute
        if attribute.name == "bits"
    }
    assert {name for name, count in bits.items() if count == 8} == set(kept)
    assert 0 < len(kept) < len(bits)
    assert float(made.facts.labels["tuning_accuracy"]) >= target


def test_a_text_encoder_is_tuned_on_prose_and_nothing_of_the_search_is_left_behind(tmp_path: Path) -> None:
    source = artifact(ENCODERS / "embedding/1", Format.TEXT_ENCODER)

    made = run_recipe(onnx_sensitivity.RECIPE, source, tmp_path / "made/files", target=0.5)

    assert operators(made.graph)["MatMulInteger"] > 0
    assert set(made.files()) == set(source.files())
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["files"]


def test_a_tensor_model_without_examples_is_refused(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"needs examples .* --calibration FILE.npz"):
        convert(planted, tmp_path / "work", "onnx_sensitivity")


def test_what_cannot_be_is_said(planted: Path, calibration: str, tmp_path: Path) -> None:
    for parameters, reason in (
        ({"target": 1.5, "tries_max": 12}, "tries found no way to keep an accuracy of 1.5 with any of the 5 layers"),
        ({"tries_max": 40}, "tries_max must be 4 to 20, got 40"),
    ):
        with pytest.raises(Refused, match=reason):
            convert(planted, tmp_path / "work", StepRequest("onnx_sensitivity", parameters), calibration=calibration)


def test_activations_of_a_language_model_stay_as_they_are(tmp_path: Path) -> None:
    source = artifact(tmp_path, Format.TEXT_GENERATION)
    with pytest.raises(Refused, match=r"dynamic_int8 does not take .* weight_only_q8 and weight_only_q4 take all"):
        run_recipe(onnx_sensitivity.RECIPE, source, tmp_path / "made")
