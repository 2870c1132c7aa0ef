"""From a staged folder to a revision's configuration and description: everything that is checked before publishing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, ModelKind
from control_plane.gateways.repository.configuration import (
    ENSEMBLE,
    MODEL_FILES,
    Abilities,
    check_tensors,
    settle_config,
)
from control_plane.gateways.repository.descriptions import read_carried
from control_plane.gateways.repository.layout import CONFIG, MANIFEST, MODEL_FILE, VERSION
from control_plane.gateways.repository.pbtxt import ModelConfig, parse_config
from control_plane.gateways.repository.signatures import check_agreement, complete_tensors, config_for
from control_plane.gateways.repository.text_models import BACKEND as TEXT
from control_plane.gateways.repository.text_models import check_text_config, check_text_graph, read_generation_facts
from control_plane.ports import OnnxModel

_ONNX = "onnxruntime"
_CONFIG_BYTES_MAX = 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """What a draft is to become. `neighbours`: directories that an ensemble may name."""

    directory: str
    abilities: Abilities
    neighbours: frozenset[str]


@dataclass(frozen=True, slots=True)
class Draft:
    """A staged folder, its configuration (None: to be generated) and what the import says of itself."""

    stage: Path
    config: ModelConfig | None
    description: Description | None

    @property
    def onnx_file(self) -> Path | None:
        """The graph to inspect. Raises InvalidRequest where the model's file is not there."""
        backend = _ONNX if self.config is None else self.config.backend
        if backend not in (_ONNX, TEXT):
            return None
        name = self.config.default_model_filename if self.config and backend == _ONNX else ""
        return self.stage / VERSION / (name or "model.onnx")


def open_draft(stage: Path, target: Target) -> Draft:
    """Read what is staged; a configuration is settled at once. Raises InvalidRequest, Unsupported."""
    description = None
    if (stage / MANIFEST).is_file():
        description = read_carried((stage / MANIFEST).read_bytes())
        (stage / MANIFEST).unlink()
    config = None
    if (stage / CONFIG).is_file():
        config = _read_config(stage / CONFIG)
        settle_config(config, target.directory, target.abilities, target.neighbours)
        _check_files(stage, config)
    elif not (stage / MODEL_FILE).is_file():
        raise InvalidRequest(f"the model directory has neither {CONFIG} nor {MODEL_FILE}")
    return Draft(stage, config, description)


def settle_draft(
    draft: Draft, target: Target, onnx: OnnxModel | None, description: Description | None
) -> tuple[ModelConfig, Description]:
    """The configuration and description to publish; `description` overrides the import's own. Raises InvalidRequest."""
    config = draft.config
    if config is None:
        assert onnx is not None
        config = config_for(onnx.signature)
        settle_config(config, target.directory, target.abilities, target.neighbours)
    described = description or draft.description or _default_description(config)
    if onnx is not None:
        described = _counted(described, onnx)
    if onnx is not None and config.backend == _ONNX:
        complete_tensors(config, onnx.signature)
        check_tensors(config)
        check_agreement(config, onnx.signature)
    else:
        check_tensors(config)
    if config.backend == TEXT:
        described = _settle_text(draft.stage, config, onnx, described)
    return config, described


def _read_config(file: Path) -> ModelConfig:
    if file.stat().st_size > _CONFIG_BYTES_MAX:
        raise InvalidRequest(f"{CONFIG} is over {_CONFIG_BYTES_MAX} bytes")
    return parse_config(file.read_bytes())


def _check_files(stage: Path, config: ModelConfig) -> None:
    """The version folder holds what the backend will open. Raises InvalidRequest."""
    if config.platform == ENSEMBLE:
        # It has no files, but Triton wants the version's folder.
        (stage / VERSION).mkdir(exist_ok=True)
        return
    if not (stage / VERSION).is_dir():
        raise InvalidRequest(f"the model directory has no version folder with the model in it, such as {MODEL_FILE}")
    name = config.default_model_filename or MODEL_FILES.get(config.backend)
    if name and not (stage / VERSION / name).is_file():
        raise InvalidRequest(f"the version folder of a {config.backend} model must hold {name}")


def _default_description(config: ModelConfig) -> Description:
    if config.backend == TEXT:
        return Description(kind=ModelKind.TRANSFORMER, tasks=("text_generation",))
    return Description()


def _counted(description: Description, onnx: OnnxModel) -> Description:
    parameters = onnx.parameters if description.parameters is None else description.parameters
    return replace(description, parameters=parameters, dtype=description.dtype or onnx.dtype)


def _settle_text(stage: Path, config: ModelConfig, onnx: OnnxModel | None, described: Description) -> Description:
    facts = read_generation_facts(stage)
    check_text_config(config)
    if onnx is not None:
        check_text_graph(onnx.signature, facts)
    context_length = facts["context_length"]
    if described.context_length not in (None, context_length):
        raise InvalidRequest(
            f"{MANIFEST} says context_length {described.context_length}, generation.json says {context_length}"
        )
    return replace(described, context_length=context_length)
