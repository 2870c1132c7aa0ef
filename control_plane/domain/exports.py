"""What a revision can be taken away as, and which of its files that takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from control_plane.domain.errors import Unsupported, UnsupportedFormat
from control_plane.domain.models import Revision


class ExportFormat(StrEnum):
    """The wire's `export_format`."""

    ONNX = "onnx"  # the graph; a zip where its weights lie in files beside it
    SAFETENSORS = "safetensors"  # the weights; the source's own where it was imported from such
    TORCHSCRIPT = "torchscript"  # of models made from a torch module or a Hugging Face directory
    TRITON = "triton"  # a zip of the whole model directory
    TENSORRT = "tensorrt"  # an engine for this machine's GPU


@dataclass(frozen=True, slots=True)
class Export:
    """A file to fetch. `file_path` is relative to the import root; Units: bytes."""

    id: str
    model: str
    revision: int
    format: ExportFormat
    file_name: str
    file_path: str
    size_bytes: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Way:
    """How a revision becomes an export of which `file_name` is fetched.

    `places`: the files that are needed, and where each goes; None means the whole model directory. With a `recipe`
    they are converted into `file_name`; without one they are the export, zipped into `file_name` if `is_packed`.
    """

    file_name: str
    places: Mapping[str, str] | None
    recipe: str | None = None
    is_packed: bool = False


_GRAPH, _WEIGHTS, _SCRIPT, _ENGINE = "model.onnx", "model.safetensors", "model.pt", "model.plan"
_VERSION, _SOURCE = "1/", "source/"
# What lies beside a graph and is none of its weights.
_NO_WEIGHTS = (".json", ".jinja", ".txt", ".md", ".onnx", ".plan", ".py")


def parse_format(text: str) -> ExportFormat:
    """Raises UnsupportedFormat."""
    try:
        return ExportFormat(text)
    except ValueError as error:
        known = [one.value for one in ExportFormat]
        raise UnsupportedFormat(
            f"there is no export format {text[:100]!r}; there are: {', '.join(known)}", known=known
        ) from error


def way_of(revision: Revision, wanted: ExportFormat, *, has_gpu: bool) -> Way:
    """Raises UnsupportedFormat where the revision has nothing to make it of; Unsupported without the GPU it takes."""
    if wanted is ExportFormat.TENSORRT and not has_gpu:
        raise Unsupported(
            "a TensorRT engine is built on the GPU that it is for, and this machine has no NVIDIA GPU",
            requires=["nvidia_gpu"],
        )
    ways = _ways(revision)
    if wanted not in ways:
        available = [one.value for one in ExportFormat if one in ways and (has_gpu or one is not ExportFormat.TENSORRT)]
        raise UnsupportedFormat(
            f"revision {revision.model}:{revision.number} has nothing that {wanted.value} can be made of; it can be "
            f"exported as {', '.join(available)}",
            available=available,
        )
    return ways[wanted]


def _ways(revision: Revision) -> dict[ExportFormat, Way]:
    """The best way to each format that the revision has one to."""
    packed = f"{revision.model}.zip"
    ways = {ExportFormat.TRITON: Way(packed, None, is_packed=True)}
    source = _below(revision, _SOURCE)
    if graph := _graph(revision):
        is_split = len(graph) > 1
        ways[ExportFormat.ONNX] = Way(packed if is_split else _GRAPH, graph, is_packed=is_split)
        ways[ExportFormat.SAFETENSORS] = Way(_WEIGHTS, graph, recipe="onnx_to_safetensors")
        ways[ExportFormat.TENSORRT] = Way(_ENGINE, graph, recipe="onnx_to_tensorrt")
    engine = f"{_VERSION}{_ENGINE}"
    if engine in _below(revision, _VERSION):
        ways[ExportFormat.TENSORRT] = Way(_ENGINE, {engine: _ENGINE})
    if _is_hugging_face(source):
        is_split = [name for name in source.values() if name.endswith(".safetensors")] != [_WEIGHTS]
        ways[ExportFormat.SAFETENSORS] = Way(packed if is_split else _WEIGHTS, source, is_packed=is_split)
        ways[ExportFormat.TORCHSCRIPT] = Way(_SCRIPT, source, recipe="hf_to_torchscript")
    elif f"{_SOURCE}{_SCRIPT}" in source:
        ways[ExportFormat.TORCHSCRIPT] = Way(_SCRIPT, source)
    elif f"{_SOURCE}model.pt2" in source:
        ways[ExportFormat.TORCHSCRIPT] = Way(_SCRIPT, source, recipe="torch_export_to_torchscript")
    return ways


def _below(revision: Revision, folder: str) -> dict[str, str]:
    """The files below a folder, and where each is in it."""
    paths = [artifact.path for artifact in revision.artifacts if artifact.path.startswith(folder)]
    return {path: path.removeprefix(folder) for path in paths}


def _graph(revision: Revision) -> dict[str, str]:
    """The ONNX graph, renamed to its usual name, and the files with its weights; empty where there is none."""
    files = _below(revision, _VERSION)
    graphs = [path for path in files if path.endswith(".onnx")]
    graph = f"{_VERSION}{_GRAPH}" if f"{_VERSION}{_GRAPH}" in files else (graphs[0] if len(graphs) == 1 else None)
    if graph is None:
        return {}
    weights = {path: name for path, name in files.items() if not name.endswith(_NO_WEIGHTS)}
    return {graph: _GRAPH, **weights}


def _is_hugging_face(source: Mapping[str, str]) -> bool:
    return "config.json" in source.values() and any(name.endswith(".safetensors") for name in source.values())
