"""Optimization, quantization and half precision of graphs: what changes, what stays, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from converters.contract import Converted, StepRequest
from converters.formats import Format
from converters.inspection import describe
from converters.onnx_graphs.processor import saturates
from converters.recipe import Refused
from converters.recipes import onnx_dynamic_int8, onnx_optimize, onnx_static_int8
from tests.converters.conversions import checks, convert, model_file
from tests.converters.graphs import artifact, external, lookup, operators, perceptron, rows, run_recipe, write_graph
from tests.converters.test_torch_to_onnx import IMAGE
from tests.converters.torch_modules_to_convert import Convolutional, save_exported_encoder, save_traced, seeded

ENCODERS = Path(__file__).parents[1] / "fixtures/tiny_text_encoders"


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perceptron(tmp_path_factory.mktemp("mlp"))


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of a transformer block, from torch.export."""
    folder = tmp_path_factory.mktemp("block")
    return model_file(convert(save_exported_encoder(folder / "m.pt2"), folder / "work")).parent


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of a convolutional network, from TorchScript."""
    folder = tmp_path_factory.mktemp("network")
    file = save_traced(seeded(Convolutional), (torch.zeros(1, 3, 32, 32),), folder / "m.pt")
    return model_file(convert(file, folder / "work", inputs=(IMAGE,))).parent


def labels(converted: Converted) -> dict[str, str]:
    return converted.facts.labels


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
def test_each_level_of_optimization_answers_the_same(block: Path, tmp_path: Path, level: str) -> None:
    converted = convert(block, tmp_path / "work", StepRequest("onnx_optimize", {"level": level}))

    (limit,) = [check["limit"] for check in converted.record["checks"] if check["name"] == "max_difference"]
    assert limit == 1e-3
    assert checks(converted)["max_difference"] < 1e-5
    assert labels(converted)["optimization"] == level
    assert describe(model_file(converted)).inputs == describe(block / "model.onnx").inputs


def test_optimization_takes_nodes_away(mlp: Path, block: Path, tmp_path: Path) -> None:
    converted = convert(block, tmp_path / "work", StepRequest("onnx_optimize", {"level": "extended"}))
    assert operators(model_file(converted)).total() < operators(block / "model.onnx").total()
    assert operators(model_file(converted))["FusedMatMul"] == 1

    converted = convert(mlp, tmp_path / "mlp", StepRequest("onnx_optimize", {"level": "basic"}))
    assert operators(model_file(converted))["Gemm"] == 1


def test_transformer_fusions_are_counted(block: Path, tmp_path: Path) -> None:
    step = StepRequest("onnx_optimize", {"level": "none", "fusion": "bert", "heads": 4, "hidden": 32})

    converted = convert(block, tmp_path / "work", step)

    assert "SkipLayerNormalization 2" in labels(converted)["fused"]
    assert operators(model_file(converted))["SkipLayerNormalization"] == 2
    assert checks(converted)["max_difference"] < 1e-5


def test_fusions_are_chosen_for_text_encoders_and_what_lies_beside_the_graph_stays(tmp_path: Path) -> None:
    source = artifact(ENCODERS / "classification/1", Format.TEXT_ENCODER)

    made = run_recipe(onnx_optimize.RECIPE, source, tmp_path / "made", fusion="auto")

    assert made.facts.labels["fused"] != "nothing"
    assert set(made.files()) == set(source.files())
    assert (made.directory / "tokenizer.json").read_bytes() == (source.directory / "tokenizer.json").read_bytes()


def test_dynamic_int8_keeps_the_answers_close_and_counts_the_weights_as_before(block: Path, tmp_path: Path) -> None:
    converted = convert(block, tmp_path / "work", precision="int8")

    assert operators(model_file(converted))["MatMulInteger"] == 6
    assert converted.facts.parameters == describe(block / "model.onnx").parameters
    assert converted.facts.dtype == "int8"
    assert checks(converted)["tensor_agreement"] > 0.95
    assert model_file(converted).stat().st_size < (block / "model.onnx").stat().st_size


def test_dynamic_int8_takes_a_graph_that_was_optimized_for_onnxruntime(mlp: Path, block: Path, tmp_path: Path) -> None:
    first = StepRequest("onnx_optimize", {"level": "extended"})
    for name, source in (("mlp", mlp), ("block", block)):
        converted = convert(source, tmp_path / name, first, "onnx_dynamic_int8")
        assert operators(model_file(converted))["MatMulInteger"] > 0
        assert checks(converted)["tensor_agreement"] > 0.95
    assert [step["recipe"] for step in converted.record["steps"]] == ["onnx_optimize", "onnx_dynamic_int8"]


def test_a_scale_for_each_channel_and_seven_bits_are_choices(mlp: Path, tmp_path: Path) -> None:
    step = StepRequest("onnx_dynamic_int8", {"per_channel": True, "reduce_range": "yes"})

    converted = convert(mlp, tmp_path / "work", step)

    weights = [onnx.numpy_helper.to_array(t) for t in onnx.load(model_file(converted)).graph.initializer]
    assert max(abs(w.astype(int)).max() for w in weights if w.dtype == np.int8) <= 64
    assert 32 in {w.size for w in weights if w.dtype == np.float32}  # a scale for each of the 32 columns
    assert labels(converted)["weight_bits"] == "7"


def test_a_network_of_convolutions_is_told_to_use_static_int8(tmp_path: Path) -> None:
    weights = np.ones((2, 3, 3, 3), np.float32)
    folder = write_graph(
        tmp_path / "m", "g (float[batch, 3, 8, 8] x) => (float[batch, 2, 6, 6] y) { y = Conv(x, w) }", w=weights
    )
    with pytest.raises(Refused, match="int8_static"):
        convert(folder, tmp_path / "work", precision="int8")


def test_static_int8_is_calibrated_with_the_callers_rows(network: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(3).standard_normal((20, 3, 32, 32), np.float32)

    converted = convert(
        network, tmp_path / "work", precision="int8_static", calibration=rows(tmp_path / "c.npz", image=images)
    )

    assert operators(model_file(converted))["QuantizeLinear"] >= 3
    assert labels(converted)["calibration_rows"] == "20"
    assert checks(converted)["tensor_agreement"] > 0.9
    assert {check["samples"] for check in converted.record["checks"] if check["name"] == "tensor_agreement"} == {20}


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_other_ways_of_calibration_work(mlp: Path, tmp_path: Path, method: str) -> None:
    x = np.random.default_rng(3).standard_normal((40, 16), np.float32)
    step = StepRequest("onnx_static_int8", {"method": method, "samples": 32})

    converted = convert(mlp, tmp_path / "work", step, calibration=rows(tmp_path / "c.npz", x=x))

    assert labels(converted)["calibration_rows"] == "32"
    assert checks(converted)["tensor_agreement"] > 0.9


def test_a_text_encoder_is_calibrated_with_prose(tmp_path: Path) -> None:
    source = artifact(ENCODERS / "classification/1", Format.TEXT_ENCODER)

    made = run_recipe(onnx_static_int8.RECIPE, source, tmp_path / "made", samples=12)

    assert made.facts.labels["calibration_rows"] == "12"
    assert operators(made.graph)["QuantizeLinear"] > 0
    assert "tokenizer.json" in set(made.files())


def test_a_static_int8_model_is_one_also_where_most_weights_are_a_table_that_stays(tmp_path: Path) -> None:
    graph = lookup(tmp_path / "lookup")
    ids = np.random.default_rng(3).integers(0, 100, (20, 4))

    converted = convert(
        graph, tmp_path / "work", precision="int8_static", calibration=rows(tmp_path / "c.npz", ids=ids)
    )

    assert describe(model_file(converted)).dtype == "float32"
    assert converted.facts.dtype == "int8"


def test_a_tensor_model_without_calibration_is_told_how_to_give_it(mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(
        Refused, match=r"int8.* or run the converter itself with --calibration FILE.npz .* each input \(x\)"
    ):
        convert(mlp, tmp_path / "work", precision="int8_static")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"z": np.zeros((4, 16))}, "no array 'x'; it has: z"),
        ({"x": np.zeros((4, 17))}, r"FP32 of \[rows, 16\] was expected"),
        ({"x": np.zeros((0, 16))}, "at least one"),
        ({"x": np.full((4, 16), np.nan)}, "not finite"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(
    mlp: Path, tmp_path: Path, arrays: dict[str, np.ndarray], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        convert(mlp, tmp_path / "work", precision="int8_static", calibration=rows(tmp_path / "c.npz", **arrays))


def test_calibration_that_is_a_pickle_is_not_opened(mlp: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Refused, match=r"must be an \.npz of arrays"):
        convert(mlp, tmp_path / "work", precision="int8_static", calibration=str(tmp_path / "c.npz"))


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_half_precision_halves_the_weights_and_keeps_inputs_and_outputs(
    mlp: Path, block: Path, tmp_path: Path, precision: str, dtype: str
) -> None:
    for name, source in (("mlp", mlp), ("block", block)):
        converted = convert(source, tmp_path / name, precision=precision)

        before, after = describe(source / "model.onnx"), describe(model_file(converted))
        assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
        assert (converted.facts.parameters, converted.facts.dtype) == (before.parameters, dtype)
        assert checks(converted)["tensor_agreement"] > 0.98
    assert model_file(converted).stat().st_size < 0.7 * (block / "model.onnx").stat().st_size


def test_bf16_says_that_it_computes_in_fp32_and_its_casts_are_folded(mlp: Path, tmp_path: Path) -> None:
    converted = convert(mlp, tmp_path / "work", precision="bf16")

    assert labels(converted)["arithmetic"] == "fp32"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(model_file(converted), options)
    assert operators(tmp_path / "opened.onnx")["Cast"] == 0


def test_operators_may_stay_in_fp32(block: Path, tmp_path: Path) -> None:
    all_half = convert(block, tmp_path / "all", precision="fp16")
    some = convert(block, tmp_path / "some", StepRequest("onnx_half", {"keep_fp32": "LayerNormalization, Softmax"}))
    assert operators(model_file(some))["Cast"] > operators(model_file(all_half))["Cast"]

    with pytest.raises(Refused, match="has no such operator"):
        convert(block, tmp_path / "none", StepRequest("onnx_half", {"keep_fp32": "Conv"}))


def test_a_chain_from_torch_to_int8_records_each_step(tmp_path: Path) -> None:
    file = save_exported_encoder(tmp_path / "m.pt2")

    converted = convert(file, tmp_path / "work", "torch_to_onnx", "onnx_optimize", "onnx_dynamic_int8")

    first, second, third = converted.record["steps"]
    assert second["inputs"] == first["outputs"]
    assert third["inputs"] == second["outputs"]
    assert checks(converted)["tensor_agreement"] > 0.95


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "sub/../../secret.bin"])
@pytest.mark.parametrize("recipe", ["onnx_optimize", "onnx_dynamic_int8", "onnx_half"])
def test_weights_outside_the_models_folder_are_not_read(tmp_path: Path, location: str, recipe: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16 * 16 * 4))
    folder = external(tmp_path / "model", location)
    with pytest.raises(Refused):
        convert(folder, tmp_path / "work", recipe)


def test_bytes_that_are_no_graph_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(Refused, match=r"model\.onnx"):
        convert(tmp_path, tmp_path / "work", "onnx_optimize")


def test_an_unknown_parameter_is_refused(mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="it has: fusion, heads, hidden, level"):
        convert(mlp, tmp_path / "work", StepRequest("onnx_optimize", {"speed": "high"}))


def test_processors_without_dot_products_get_seven_bits(tmp_path: Path) -> None:
    for flags, expected in (("sse avx2 avx512_vnni", False), ("sse avx2", True)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        assert saturates("x86_64", tmp_path / "cpuinfo") is expected
    assert not saturates("aarch64", tmp_path / "cpuinfo")
    assert onnx_dynamic_int8.RECIPE.parameters["reduce_range"].default == "auto"
