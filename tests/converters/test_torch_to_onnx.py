"""TorchScript and torch.export files become graphs that answer as they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from converters.contract import TensorFact
from converters.inspection import describe
from converters.recipe import Refused
from tests.converters.conversions import checks, convert, model_file
from tests.converters.torch_modules_to_convert import (
    BATCH,
    Convolutional,
    Encoder,
    Mlp,
    save_exported,
    save_exported_encoder,
    save_script,
    save_traced,
    seeded,
)

X = TensorFact("x", "FP32", (-1, 16))
IMAGE = TensorFact("image", "FP32", (-1, 3, -1, -1))
TEXT = (TensorFact("ids", "INT64", (-1, -1)), TensorFact("mask", "INT64", (-1, -1)))


def test_a_scripted_module_answers_the_same_as_a_graph_with_a_batch_axis(tmp_path: Path) -> None:
    module = seeded(Mlp)

    converted = convert(save_script(module, tmp_path / "mlp.pt"), tmp_path / "work", inputs=(X,))

    found = describe(model_file(converted))
    assert found.inputs == (X,)
    assert found.outputs == (TensorFact("output", "FP32", (-1, 4)),)
    assert found.has_batch_axis
    assert (converted.facts.parameters, converted.facts.dtype) == (16 * 32 + 32 + 32 * 4 + 4, "float32")
    rows = np.random.default_rng(1).standard_normal((7, 16), np.float32)
    (answer,) = onnxruntime.InferenceSession(model_file(converted)).run(None, {"x": rows})
    np.testing.assert_allclose(answer, module(torch.from_numpy(rows)).detach().numpy(), atol=1e-5)
    assert (Path(converted.directory) / "source/model.pt").is_file()


def test_a_traced_convolution_keeps_the_axes_that_its_owner_calls_free(tmp_path: Path) -> None:
    file = save_traced(seeded(Convolutional), (torch.zeros(1, 3, 32, 32),), tmp_path / "net.pt")

    converted = convert(file, tmp_path / "work", inputs=(IMAGE,))

    found = describe(model_file(converted))
    assert found.inputs == (IMAGE,)
    assert found.outputs == (TensorFact("output", "FP32", (-1, 5)),)
    assert checks(converted)["max_difference"] < 1e-5
    assert checks(converted)["top1_agreement"] == 1.0


def test_a_script_with_several_inputs_and_outputs_is_converted(tmp_path: Path) -> None:
    converted = convert(save_script(seeded(Encoder), tmp_path / "m.pt"), tmp_path / "work", inputs=TEXT)

    assert describe(model_file(converted)).outputs == (
        TensorFact("output_0", "FP32", (-1, -1, 32)),
        TensorFact("output_1", "FP32", (-1, 32)),
    )


def test_an_exported_program_tells_its_inputs_itself(tmp_path: Path) -> None:
    converted = convert(save_exported_encoder(tmp_path / "encoder.pt2"), tmp_path / "work")

    found = describe(model_file(converted))
    assert found.inputs == TEXT
    assert [output.name for output in found.outputs] == ["output_0", "output_1"]
    assert found.has_batch_axis
    assert checks(converted)["max_difference"] < 1e-5


def test_an_exported_program_with_fixed_axes_keeps_them(tmp_path: Path) -> None:
    file = save_exported(seeded(Mlp), (torch.zeros(3, 16),), None, tmp_path / "m.pt2")

    found = describe(model_file(convert(file, tmp_path / "work")))

    assert found.inputs == (TensorFact("input", "FP32", (3, 16)),)
    assert not found.has_batch_axis


def test_converting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    file = save_exported(seeded(Mlp), (torch.zeros(2, 16),), ({0: BATCH},), tmp_path / "m.pt2")

    first, second = (model_file(convert(file, tmp_path / name)).read_bytes() for name in ("one", "two"))

    assert first == second
    assert b"/site-packages/" not in first


def test_a_script_without_described_inputs_is_told_how_to_describe_them(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--input x:FP32:-1,16"):
        convert(save_script(seeded(Mlp), tmp_path / "mlp.pt"), tmp_path / "work")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ((X, TensorFact("y", "FP32", (-1, 16))), "takes 1 inputs"),
        ((TensorFact("x", "BYTES", (-1, 16)),), "must have one of the types"),
        ((TensorFact("x", "FP32", (-1, 0)),), "at least 1, or -1"),
        ((TensorFact("x y", "FP32", (-1, 16)),), "must be a word"),
        ((TensorFact("x", "FP32", (-1, 17)),), "does not take such inputs.*17"),
        ((TensorFact("x", "INT64", (-1, 16)),), "does not take such inputs"),
        ((TensorFact("x", "FP32", (9_999_999_999, 16)),), "too large to be tried"),
        ((TensorFact("x", "FP32", (1,) * 100),), "at most 32 sizes"),
    ],
)
def test_inputs_that_a_script_cannot_take_are_refused(
    tmp_path: Path, inputs: tuple[TensorFact, ...], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        convert(save_script(seeded(Mlp), tmp_path / "mlp.pt"), tmp_path / "work", inputs=inputs)


class Choosy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 2:
            raise Exception("three axes are wanted")
        return x


def test_a_script_that_raises_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"does not take such inputs.*three axes are wanted"):
        convert(save_script(Choosy(), tmp_path / "m.pt"), tmp_path / "work", inputs=(X,))


class Sorted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cannot export the module to ONNX.*bessel_j0"):
        convert(save_script(Sorted(), tmp_path / "m.pt"), tmp_path / "a", inputs=(X,))
    file = save_exported(Sorted(), (torch.zeros(2, 16),), ({0: BATCH},), tmp_path / "m.pt2")
    with pytest.raises(Refused, match=r"cannot export the module to ONNX.*bessel_j0"):
        convert(file, tmp_path / "b")


class BatchOfTwo(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], -1)[: int(x.shape[0])] * torch.arange(x.shape[0])[:, None]


def test_a_size_that_tracing_baked_in_is_noticed(tmp_path: Path) -> None:
    file = save_traced(BatchOfTwo(), (torch.zeros(2, 16),), tmp_path / "m.pt")

    with pytest.raises(Refused):
        convert(file, tmp_path / "work", inputs=(X,))
