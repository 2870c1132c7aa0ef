"""What kind of model a folder or file is, told from its own description; nothing in it is executed."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from converters.contract import Facts
from converters.formats import GRAPH, TORCH_FILES, Artifact, Format
from converters.recipe import Refused, UnsupportedSource
from converters.workspace import link_or_copy

_CONFIG, _GENERATION, _ENCODER_FACTS = "config.json", "generation.json", "encoder.json"
_CONFIG_BYTES_MAX = 2**20
_CAUSAL = re.compile(r".*(ForCausalLM|LMHeadModel)$")
_CLASSIFIER = re.compile(r".*ForSequenceClassification$")
_ENCODER = re.compile(r".*(Model|ForMaskedLM)$")
_KNOWN = "a Hugging Face directory with config.json and *.safetensors, a TorchScript or torch.export file, or ONNX"


def recognize(source: Path, taken: Path) -> Artifact:
    """The folder of the model and its format; a single file is taken into the folder `taken` first.

    Raises: Refused, UnsupportedSource.
    """
    folder = _taken(source, taken) if source.is_file() else source
    if (folder / GRAPH).is_file() and (folder / _GENERATION).is_file():
        return _text_generation(folder)
    if (folder / GRAPH).is_file() and (folder / _ENCODER_FACTS).is_file():
        return _text_encoder(folder)
    if (folder / _CONFIG).is_file():
        return _hugging_face(folder)
    for kind, name in TORCH_FILES.items():
        if (folder / name).is_file():
            return Artifact(Format(kind), folder, Facts())
    if (folder / GRAPH).is_file():
        return Artifact(Format.ONNX, folder, Facts())
    raise UnsupportedSource(f"there is no model here that can be converted; give {_KNOWN}")


def _text_generation(folder: Path) -> Artifact:
    from converters.causal_lm.files import read_facts
    from converters.onnx_graphs.files import facts_of

    length = read_facts(folder).context_length
    facts = Facts(kind="transformer", tasks=("text_generation",), context_length=length)
    return Artifact(Format.TEXT_GENERATION, folder, facts_of(folder / GRAPH, facts))


def _text_encoder(folder: Path) -> Artifact:
    from converters.onnx_graphs.files import facts_of
    from converters.text_encoders.files import read_facts

    said = read_facts(folder)
    facts = Facts(tasks=(said.task,), context_length=said.max_tokens)
    return Artifact(Format.TEXT_ENCODER, folder, facts_of(folder / GRAPH, facts))


def _taken(file: Path, folder: Path) -> Path:
    name = GRAPH if file.suffix.lower() == ".onnx" else TORCH_FILES[_torch_kind(file)]
    if not (folder / name).is_file():
        link_or_copy(file, folder / name)
    return folder


def _torch_kind(file: Path) -> Format:
    """TorchScript and torch.export archives are zip files of known parts; a pickled checkpoint is neither."""
    names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
    inner = {name.partition("/")[2] for name in names}
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        return Format.TORCHSCRIPT
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return Format.TORCH_EXPORT
    raise UnsupportedSource(
        f"{file.name} is neither ONNX, nor a TorchScript file (torch.jit.save), nor a torch.export file; pickled "
        "checkpoints are not opened, since a pickle can run code: save it as safetensors beside its config.json"
    )


def _hugging_face(folder: Path) -> Artifact:
    config = _read_config(folder / _CONFIG)
    if not any(folder.rglob("*.safetensors")):
        raise UnsupportedSource(
            "the directory has no *.safetensors; pickled weights (*.bin, *.pt) are not opened: "
            "save the model with save_pretrained, which writes safetensors"
        )
    if (folder / "modules.json").is_file():
        return Artifact(Format.ENCODER, folder, Facts())
    architectures = config.get("architectures") or []
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    for pattern, kind in ((_CAUSAL, Format.CAUSAL_LM), (_CLASSIFIER, Format.CLASSIFIER), (_ENCODER, Format.ENCODER)):
        if pattern.fullmatch(name):
            return Artifact(kind, folder, Facts())
    raise UnsupportedSource(
        (f"the architecture {name[:100]!r} is not supported: " if name else "config.json names no architectures; ")
        + "causal language models, sequence classifiers and text encoders can be imported",
        architecture=name,
    )


def _read_config(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _CONFIG_BYTES_MAX:
        raise Refused(f"{_CONFIG} is over {_CONFIG_BYTES_MAX} bytes")
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused(f"{_CONFIG} is not JSON") from error
    if not isinstance(config, dict):
        raise Refused(f"{_CONFIG} must be a JSON object")
    return config
