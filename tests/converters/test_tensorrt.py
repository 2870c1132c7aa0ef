"""Engines are really built, by TensorRT-RTX, which needs no GPU for that. Running one does: that is not tested here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.contract import Converted, StepRequest
from converters.recipe import Lacking, Refused
from converters.recipes import onnx_to_tensorrt
from converters.tensorrt.library import compute_capabilities, has_gpu, open_library
from tests.converters.conversions import convert, model_file
from tests.converters.graphs import perceptron, rows, write_graph
from tests.converters.torch_modules_to_convert import save_exported_encoder


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perceptron(tmp_path_factory.mktemp("mlp"))


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("block")
    return model_file(convert(save_exported_encoder(folder / "m.pt2"), folder / "work")).parent


def build(
    source: Path, workspace: Path, *before: StepRequest, calibration: str | None = None, **asked: object
) -> Converted:
    engine = StepRequest("onnx_to_tensorrt", {"library": "tensorrt_rtx", **asked})
    return convert(source, workspace, *before, engine, calibration=calibration)


def test_an_engine_of_a_perceptron_says_what_it_is_for(mlp: Path, tmp_path: Path) -> None:
    converted = build(mlp, tmp_path / "work", compute_capability="SM89")

    assert model_file(converted, "model.plan").stat().st_size > 1000
    assert [path.name for path in model_file(converted).parent.iterdir()] == ["model.plan"]
    assert converted.facts.labels["engine_library"].startswith("tensorrt_rtx 1.")
    assert converted.facts.labels["compute_capability"] == "SM89"
    assert converted.facts.parameters == 16 * 32 + 32 + 32 * 4


@pytest.mark.parametrize("precision", ["source", "fp16"])
def test_an_engine_of_a_transformer_block_has_free_axes(block: Path, tmp_path: Path, precision: str) -> None:
    converted = build(block, tmp_path / "work", precision=precision, batch_opt=2, batch_max=4, axis_opt=16, axis_max=64)

    assert model_file(converted, "model.plan").stat().st_size > 100_000
    assert converted.facts.dtype == {"source": "float32", "fp16": "float16"}[precision]


def test_an_int8_engine_is_built_of_a_quantized_graph(mlp: Path, block: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    quantize = StepRequest("onnx_static_int8", {"for_engine": "tensorrt"})
    for name, source, arrays in (
        ("mlp", mlp, {"x": random.standard_normal((32, 16), np.float32)}),
        ("block", block, {"ids": random.integers(0, 50, (16, 9)), "mask": np.ones((16, 9), np.int64)}),
    ):
        calibration = rows(tmp_path / f"{name}.npz", **arrays)
        converted = build(source, tmp_path / name, quantize, calibration=calibration, precision="int8")
        assert converted.facts.dtype == "int8"
        assert model_file(converted, "model.plan").is_file()


def test_int8_without_a_quantized_graph_names_the_step_before(mlp: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="run onnx_static_int8 with for_engine tensorrt before"):
        build(mlp, tmp_path / "work", precision="int8")


def test_a_graph_that_was_quantized_for_the_cpu_is_refused_by_its_operator(block: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"does not take node .*\(MatMulInteger\): no such operator"):
        build(block, tmp_path / "work", StepRequest("onnx_dynamic_int8"))


def test_an_operator_that_the_library_lacks_is_named(tmp_path: Path) -> None:
    folder = write_graph(
        tmp_path / "m", "g (float[batch, 4] x) => (double[batch, 4] y) { z = Det(x) y = Cast<to = 11>(x) }"
    )
    with pytest.raises(Refused, match=r"does not take node .*\(Det\)"):
        build(folder, tmp_path / "work")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"compute_capability": "SM90"}, "it builds for SM"),
        ({"batch_min": 9, "batch_opt": 8}, "batch_min <= batch_opt <= batch_max"),
        ({"axis_min": 0}, "1 <= axis_min"),
        ({"profile": "x=1x16:4x16:4x17"}, r"has the shape \[4, 17\]; its own is \[-1, 16\]"),
        ({"profile": "x=4x16:2x16:8x16"}, "must grow"),
        ({"profile": "z=1:2:3"}, "the inputs are x"),
        ({"profile": "x=1x16"}, "cannot be read: write it as in"),
    ],
)
def test_what_cannot_be_built_is_refused(mlp: Path, tmp_path: Path, asked: dict[str, object], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        build(mlp, tmp_path / "work", **asked)


def test_a_profile_of_ones_own_is_taken(mlp: Path, tmp_path: Path) -> None:
    converted = build(mlp, tmp_path / "work", profile="x=1x16:4x16:64x16")
    assert converted.record["steps"][-1]["parameters"]["profile"] == "x=1x16:4x16:64x16"


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_rounded_products_are_asked_for_or_not(mlp: Path, tmp_path: Path, precision: str) -> None:
    assert build(mlp, tmp_path / "work", precision=precision).facts.labels["engine_precision"] == precision

    library = open_library("tensorrt_rtx")
    settings = onnx_to_tensorrt.Builder(library)._settings({}, onnx_to_tensorrt.Settings(None, 0, precision == "tf32"))
    assert settings.get_flag(library.BuilderFlag.TF32) == (precision == "tf32")


def test_the_timings_of_kernels_lie_beside_the_engine(mlp: Path, tmp_path: Path) -> None:
    converted = build(mlp, tmp_path / "work", timing_cache=True)

    assert {path.name for path in model_file(converted).parent.iterdir()} == {"model.plan", "timing.cache"}
    with_timings = tmp_path / "source"
    with_timings.mkdir()
    for file in (mlp / "model.onnx", model_file(converted, "timing.cache")):
        (with_timings / file.name).write_bytes(file.read_bytes())
    assert model_file(build(with_timings, tmp_path / "again", timing_cache=True), "model.plan").is_file()


def test_the_other_library_is_named_when_it_is_not_here() -> None:
    with pytest.raises(Lacking, match="tensorrt"):
        open_library("tensorrt")
    assert onnx_to_tensorrt.RECIPE.lacks() is None
    assert compute_capabilities(open_library("auto")) != []


def test_a_gpu_is_told_by_its_driver(tmp_path: Path) -> None:
    assert not has_gpu(tmp_path / "nvidiactl")
    (tmp_path / "nvidiactl").touch()
    assert has_gpu(tmp_path / "nvidiactl")
