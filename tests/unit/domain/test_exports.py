"""Which formats a revision can leave in, told from its files."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import Unsupported, UnsupportedFormat
from control_plane.domain.exports import ExportFormat, Way, parse_format, way_of
from control_plane.domain.models import Artifact, Revision
from tests.doubles.repository import tensor_revision

CONFIG, GRAPH = "config.pbtxt", "1/model.onnx"
HUB = ("source/config.json", "source/model.safetensors", "source/tokenizer.json")


def revision(*paths: str) -> Revision:
    return tensor_revision("m", artifacts=tuple(Artifact(path, 1, "a" * 64) for path in (CONFIG, *paths)))


def way(wanted: str, *paths: str, has_gpu: bool = False) -> Way:
    return way_of(revision(*paths), ExportFormat(wanted), has_gpu=has_gpu)


def test_a_whole_model_directory_is_a_zip_of_the_model_s_name() -> None:
    assert way("triton", "1/model.py") == Way("m.zip", None, is_packed=True)


def test_a_graph_is_one_file_whatever_it_is_called() -> None:
    assert way("onnx", GRAPH) == Way("model.onnx", {GRAPH: "model.onnx"})
    assert way("onnx", "1/net.onnx") == Way("model.onnx", {"1/net.onnx": "model.onnx"})
    assert way("onnx", GRAPH, "1/tokenizer.json", "1/chat_template.jinja", "1/draft.onnx").places == {
        GRAPH: "model.onnx"
    }


def test_a_graph_with_its_weights_beside_it_is_a_zip() -> None:
    expected = {GRAPH: "model.onnx", "1/model.onnx.data": "model.onnx.data"}
    assert way("onnx", GRAPH, "1/model.onnx.data", "1/generation.json") == Way("m.zip", expected, is_packed=True)


def test_weights_are_the_source_s_own_with_what_lies_beside_them() -> None:
    places = {path: path.removeprefix("source/") for path in HUB}
    assert way("safetensors", GRAPH, *HUB) == Way("model.safetensors", places)


@pytest.mark.parametrize(
    "files",
    [
        ("source/model-00001-of-00002.safetensors", "source/model-00002-of-00002.safetensors"),
        ("source/model.safetensors", "source/2_Dense/model.safetensors"),
        ("source/other.safetensors",),
    ],
)
def test_weights_that_are_no_single_file_are_a_zip_of_their_directory(files: tuple[str, ...]) -> None:
    found = way("safetensors", GRAPH, "source/config.json", *files)
    assert (found.file_name, found.is_packed, found.recipe) == ("m.zip", True, None)
    assert found.places is not None
    assert set(found.places) == {"source/config.json", *files}


def test_weights_of_a_mere_graph_are_read_from_it() -> None:
    assert way("safetensors", GRAPH) == Way("model.safetensors", {GRAPH: "model.onnx"}, recipe="onnx_to_safetensors")


def test_a_torch_module_is_given_back_traced_or_converted() -> None:
    assert way("torchscript", GRAPH, "source/model.pt") == Way("model.pt", {"source/model.pt": "model.pt"})
    assert way("torchscript", GRAPH, *HUB).recipe == "hf_to_torchscript"
    assert way("torchscript", GRAPH, "source/model.pt2").recipe == "torch_export_to_torchscript"


def test_what_cannot_be_made_is_refused_with_what_can() -> None:
    with pytest.raises(UnsupportedFormat, match="onnx, safetensors, triton") as refused:
        way("torchscript", GRAPH)
    assert refused.value.details == {"available": ["onnx", "safetensors", "triton"]}
    with pytest.raises(UnsupportedFormat) as refused:
        way("onnx", "1/model.py", has_gpu=True)
    assert refused.value.details == {"available": ["triton"]}
    with pytest.raises(UnsupportedFormat) as refused:
        way("torchscript", GRAPH, has_gpu=True)
    assert refused.value.details == {"available": ["onnx", "safetensors", "triton", "tensorrt"]}


def test_an_engine_needs_a_gpu_and_is_taken_as_it_is_where_there_is_one() -> None:
    with pytest.raises(Unsupported) as refused:
        way("tensorrt", GRAPH)
    assert refused.value.details == {"requires": ["nvidia_gpu"]}
    assert way("tensorrt", GRAPH, has_gpu=True) == Way("model.plan", {GRAPH: "model.onnx"}, recipe="onnx_to_tensorrt")
    assert way("tensorrt", "1/model.plan", has_gpu=True) == Way("model.plan", {"1/model.plan": "model.plan"})


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    assert parse_format("triton") is ExportFormat.TRITON
    with pytest.raises(UnsupportedFormat) as refused:
        parse_format("gguf")
    assert refused.value.details == {"known": ["onnx", "safetensors", "torchscript", "triton", "tensorrt"]}
