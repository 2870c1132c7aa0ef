"""What a source is, told from the names of its files, and where each of them goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from control_plane.domain.errors import UnsupportedFormat
from control_plane.domain.imports import SourceFormat
from control_plane.gateways.repository.layout import CONFIG, EVIDENCE, MODEL_FILE, SCRIPT, VERSION
from control_plane.gateways.repository.staging import one_version

KNOWN = (
    f"a Triton model directory ({CONFIG} and {VERSION}/), a Hugging Face directory (config.json, *.safetensors, "
    "tokenizer.json), a .zip of either, an .onnx file, or a TorchScript or torch.export file (.pt, .pt2)"
)
_HUB_CONFIG = "config.json"
# What a Hugging Face directory is read for; weights of other frameworks, pickles, code and pictures stay behind.
_HUB_SUFFIXES = frozenset([".json", ".safetensors", ".txt", ".model", ".jinja", ".md"])
_HUB_DEPTH_MAX = 2  # sentence-transformers has its modules in folders such as 1_Pooling


@dataclass(frozen=True, slots=True)
class Contents:
    """`places`: where each wanted file goes, by its path in the source."""

    format: SourceFormat
    places: Mapping[str, str]


def sort_out(names: Collection[str], label: str) -> Contents:
    """Raises UnsupportedFormat where no kind of model is recognised, InvalidRequest for several versions."""
    top = {name for name in names if "/" not in name}
    version = one_version({name.partition("/")[0] for name in names if "/" in name})
    graphs = sorted(name for name in top if name.lower().endswith(".onnx"))
    if CONFIG in top or version is not None:
        places = {name: _in_version(name, version) for name in names if name not in (EVIDENCE, SCRIPT)}
        return Contents(SourceFormat.TRITON, places)
    if _HUB_CONFIG in top and any(name.endswith(".safetensors") for name in names):
        return Contents(SourceFormat.SAFETENSORS, {name: name for name in names if _is_hub_file(name)})
    if len(graphs) == 1:
        # Its weights may lie in files beside it.
        places = {name: f"{VERSION}/{name}" for name in top} | {graphs[0]: MODEL_FILE}
        return Contents(SourceFormat.ONNX, places)
    raise UnsupportedFormat(f"{label!r} is no model that can be imported{_hint(top)}: give {KNOWN}", known=_WORDS)


def _in_version(name: str, version: str | None) -> str:
    first, _, rest = name.partition("/")
    return f"{VERSION}/{rest}" if first == version and rest else name


def _is_hub_file(name: str) -> bool:
    path = PurePosixPath(name)
    is_visible = not any(part.startswith(".") for part in path.parts)
    # Exports for other engines lie in folders of theirs, beside the weights they were made from.
    is_other_engine = len(path.parts) > 1 and path.parts[0] in ("onnx", "openvino", "coreml")
    return is_visible and not is_other_engine and len(path.parts) <= _HUB_DEPTH_MAX and path.suffix in _HUB_SUFFIXES


def _hint(top: Collection[str]) -> str:
    if _HUB_CONFIG in top:
        return (
            " (its config.json has no *.safetensors beside it; pickled weights are not opened: save the model with "
            "save_pretrained, which writes safetensors)"
        )
    if any(name.endswith(".safetensors") for name in top):
        return " (weights alone do not say what model they are of; their config.json must lie beside them)"
    return ""


_WORDS = [*SourceFormat, "zip"]
