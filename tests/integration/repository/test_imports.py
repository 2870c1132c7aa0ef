"""Imports judged by the real onnxruntime: what is served agrees with the graph, and hostile graphs leave nothing."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, ModelKind, TensorSpec
from control_plane.gateways.processes.converter import ConverterInspector
from tests.doubles.onnx_files import BFLOAT16, adder, graph, model, node, relu, tensor, value
from tests.unit.repository.directories import MLP_CONFIG, Workshop, write_directory

FIXTURES = Path(__file__).parents[2] / "fixtures"
MLP = (FIXTURES / "mlp/model.onnx").read_bytes()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop.open(tmp_path / "state", ConverterInspector())


async def test_a_bare_onnx_file_is_ready_to_serve(workshop: Workshop) -> None:
    revision = await workshop.publish(FIXTURES / "mlp/model.onnx")

    assert revision.signature.inputs == (TensorSpec("features", "FP32", (-1, 8)),)
    assert revision.signature.outputs == (TensorSpec("scores", "FP32", (-1, 3)),)
    assert revision.signature.max_batch_size == 32
    assert revision.description == Description(ModelKind.GENERIC, (), 195, "float32")
    assert await workshop.repository.revisions() == (revision,)


async def test_a_text_model_is_ready_to_serve(workshop: Workshop) -> None:
    revision = await workshop.publish(FIXTURES / "tiny_text_model", model="tiny")

    assert revision.generates_text
    assert (revision.description.context_length, revision.description.dtype) == (256, "int8")


async def test_weights_beside_the_graph_are_published_with_it(workshop: Workshop, tmp_path: Path) -> None:
    files = {"1/model.onnx": adder(tensor("w", [4], location="model.data")), "1/model.data": bytes(16)}

    revision = await workshop.publish(write_directory(tmp_path / "m", files))

    assert revision.description.parameters == 4
    assert "1/model.data" in [artifact.path for artifact in revision.artifacts]


CONFIG = MLP_CONFIG.encode()
HOSTILE: dict[str, tuple[dict[str, bytes], str]] = {
    "cut short": ({"1/model.onnx": MLP[: len(MLP) // 2]}, "model.onnx cannot be used: .*cut short"),
    "cut short, configured": ({"config.pbtxt": CONFIG, "1/model.onnx": MLP[:300]}, "model.onnx cannot be used"),
    "secrets": ({"1/model.onnx": adder(tensor("w", [4], location="/etc/passwd"))}, "outside its own folder"),
    "weights left at home": ({"1/model.onnx": adder(tensor("w", [4], location="w.data"))}, "not beside it"),
    "another signature": (
        {"config.pbtxt": CONFIG.replace(b"[ 3 ]", b"[ 4 ]"), "1/model.onnx": MLP},
        r"output 'scores': config\.pbtxt says FP32 \[-1, 4\] with the batch axis, model\.onnx says FP32 \[-1, 3\]",
    ),
    "no batch axis": ({"config.pbtxt": CONFIG, "1/model.onnx": relu((1, 4))}, "'features', which model.onnx does not"),
    "unknown operator": (
        {"1/model.onnx": model(graph([node("Explode", ["x"], ["y"])], [value("x", [1])], [value("y", [1])]))},
        "onnxruntime cannot open it",
    ),
    "bfloat16": (
        {
            "1/model.onnx": model(
                graph([node("Identity", ["x"], ["y"])], [value("x", [1], BFLOAT16)], [value("y", [1], BFLOAT16)])
            )
        },
        "input 'x' is BF16",
    ),
    "batch asked of a fixed axis": (
        {"config.pbtxt": b'backend: "onnxruntime" max_batch_size: 8', "1/model.onnx": relu((1, 4))},
        r"max_batch_size 8, but input 'x' of model\.onnx has the shape \[1, 4\]",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_import_is_one_sentence_and_leaves_nothing(
    workshop: Workshop, tmp_path: Path, case: str
) -> None:
    files, sentence = HOSTILE[case]

    with pytest.raises(InvalidRequest, match=sentence) as caught:
        await workshop.publish(write_directory(tmp_path / "m", files))

    assert workshop.is_untouched()
    assert str(tmp_path) not in caught.value.message


async def test_imports_at_the_same_time_do_not_meet(workshop: Workshop, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "mlp/model.onnx", tmp_path / "a.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"x")

    ended = await asyncio.gather(
        *(workshop.publish(tmp_path / "a.onnx", number=number) for number in (1, 2)),
        workshop.publish(tmp_path / "bad.onnx", number=3),
        return_exceptions=True,
    )

    assert isinstance(ended[2], InvalidRequest)
    assert await workshop.repository.revisions() == tuple(ended[:2])
