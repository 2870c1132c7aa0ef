"""From a staged folder to a revision's configuration and description: everything that is checked before publishing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description
from control_plane.gateways.repository.configuration import (
    ENSEMBLE,
    MODEL_FILES,
    Abilities,
    check_tensors,
    settle_config,
)
from control_plane.gateways.repository.descriptions import read_carried
from control_plane.gateways.repository.image_models import BACKEND as IMAGES
from control_plane.gateways.repository.image_models import describe_image_model
from control_plane.gateways.repository.layout import CONFIG, MANIFEST, MODEL_FILE, VERSION
from control_plane.gateways.repository.pbtxt import ModelConfig, parse_config
from control_plane.gateways.repository.signatures import check_agreement, complete_tensors, config_for
from control_plane.gateways.repository.text_encoders import EncoderFacts
from control_plane.gateways.repository.text_files import TextFacts
from control_plane.gateways.repository.text_models import GenerationFacts
from control_plane.ports import OnnxModel

_ONNX = "onnxruntime"
# By backend. Their files make a directory without a configuration one of theirs; a graph alone is onnxruntime's.
_TEXT: dict[str, type[EncoderFacts] | type[GenerationFacts]] = {
    EncoderFacts.BACKEND: EncoderFacts,
    GenerationFacts.BACKEND: GenerationFacts,
}
_CONFIG_BYTES_MAX = 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """What a draft is to become. `neighbours`: directories that an ensemble may name. `may_be_internal`: it ships."""

    directory: str
    abilities: Abilities
    neighbours: frozenset[str]
    may_be_internal: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A staged folder, its configuration (None: to be generated) and what the import says of itself."""

    stage: Path
    config: ModelConfig | None
    description: Description | None

    @property
    def backend(self) -> str:
        if self.config is not None:
            return str(self.config.backend)
        return next(iter(_signs(self.stage)), _ONNX)

    @property
    def onnx_file(self) -> Path | None:
        """The graph to inspect, for a backend that runs one."""
        if self.backend != _ONNX and self.backend not in _TEXT:
            return None
        name = self.config.default_model_filename if self.config and self.backend == _ONNX else ""
        return self.stage / VERSION / (name or "model.onnx")

    def text_facts(self) -> TextFacts | None:
        """For a text backend. Raises InvalidRequest."""
        return _TEXT[self.backend].read(self.stage) if self.backend in _TEXT else None


def open_draft(stage: Path, target: Target) -> Draft:
    """Read what is staged; a configuration is settled at once. Raises InvalidRequest, Unsupported."""
    description = None
    if (stage / MANIFEST).is_file():
        description = read_carried((stage / MANIFEST).read_bytes(), may_be_internal=target.may_be_internal)
        (stage / MANIFEST).unlink()
    config = None
    if (stage / CONFIG).is_file():
        config = _read_config(stage / CONFIG)
        settle_config(config, target.directory, target.abilities, target.neighbours)
        _check_files(stage, config)
    else:
        _check_unconfigured(stage)
    return Draft(stage, config, description)


def settle_draft(
    draft: Draft, target: Target, onnx: OnnxModel | None, description: Description | None
) -> tuple[ModelConfig, Description]:
    """The configuration and description to publish; `description` overrides the import's own. Raises InvalidRequest."""
    config, facts = draft.config, draft.text_facts()
    if config is None:
        assert onnx is not None
        config = config_for(onnx.signature) if facts is None else facts.config()
        settle_config(config, target.directory, target.abilities, target.neighbours)
    described = description or draft.description
    if config.backend == IMAGES:
        described = describe_image_model(draft.stage, config, described)
    described = described or (Description() if facts is None else facts.description)
    if onnx is not None:
        described = _counted(described, onnx)
    if onnx is not None and config.backend == _ONNX:
        complete_tensors(config, onnx.signature)
        check_tensors(config)
        check_agreement(config, onnx.signature)
    else:
        check_tensors(config)
    if facts is not None and onnx is not None:
        facts.check(config, onnx.signature)
        described = _with_length(described, facts)
    return config, described


def _read_config(file: Path) -> ModelConfig:
    if file.stat().st_size > _CONFIG_BYTES_MAX:
        raise InvalidRequest(f"{CONFIG} is over {_CONFIG_BYTES_MAX} bytes")
    return parse_config(file.read_bytes())


def _check_unconfigured(stage: Path) -> None:
    """Raises InvalidRequest where the files do not tell what the model is."""
    if not (stage / MODEL_FILE).is_file():
        raise InvalidRequest(f"the model directory has neither {CONFIG} nor {MODEL_FILE}")
    signs = _signs(stage)
    if len(signs) > 1:
        files = " and ".join(signs.values())
        raise InvalidRequest(f"the model directory holds {files}; keep the one that says what it is")


def _signs(stage: Path) -> dict[str, str]:
    """The text backends whose files are there, and the files."""
    return {backend: facts.FILE for backend, facts in _TEXT.items() if (stage / facts.FILE).is_file()}


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


def _counted(description: Description, onnx: OnnxModel) -> Description:
    parameters = onnx.parameters if description.parameters is None else description.parameters
    return replace(description, parameters=parameters, dtype=description.dtype or onnx.dtype)


def _with_length(description: Description, facts: TextFacts) -> Description:
    """Raises InvalidRequest where the two disagree."""
    length = facts.description.context_length
    if description.context_length not in (None, length):
        raise InvalidRequest(f"{MANIFEST} says context_length {description.context_length}, {facts.FILE} says {length}")
    return replace(description, context_length=length)
