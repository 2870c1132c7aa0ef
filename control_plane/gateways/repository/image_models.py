"""What a directory of the `diffusion` backend must hold, before the backend finds out itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, ModelKind
from control_plane.gateways.repository.layout import VERSION
from control_plane.gateways.repository.pbtxt import ModelConfig, datatype_name
from control_plane.gateways.repository.pipelines import TEXT_ENCODER, UNET, part_parameters
from control_plane.gateways.repository.text_files import read_object

BACKEND = "diffusion"
FACTS, _CONDITIONS, _TOKENIZER = (
    f"{VERSION}/{name}" for name in ("diffusion.json", "conditions.npy", "tokenizer.json")
)
_SEED, _TEXT = ("seed", "INT64", [1]), ("text_input", "BYTES", [1])
_OUTPUTS = [
    ("step", "INT32", [1]),
    ("num_steps", "INT32", [1]),
    ("images", "BYTES", [-1]),
    ("size", "INT32", [2]),
    ("stages", "BYTES", [1]),
]
_LABELS_MAX = 10_000


def describe_image_model(stage: Path, config: ModelConfig, said: Description | None) -> Description:
    """What is said of it, with its labels as classes; files and configuration are what the backend needs.

    Raises: InvalidRequest.
    """
    takes_text = _TEXT in [_port(tensor) for tensor in config.input]
    _check_config(config, takes_text=takes_text)
    needed = (FACTS, _CONDITIONS, _TOKENIZER) if takes_text else (FACTS, _CONDITIONS)
    for path in needed:
        if not (stage / path).is_file():
            raise InvalidRequest(f"a {BACKEND} model needs {path}", path=path)
    kind = ModelKind.HYBRID if takes_text else ModelKind.DIFFUSION
    labels = _labels(read_object(stage, FACTS).get("labels"))
    return replace(said or Description(kind, ("image_generation",)), classes=labels)


def _check_config(config: ModelConfig, *, takes_text: bool) -> None:
    if not config.model_transaction_policy.decoupled or config.max_batch_size:
        raise InvalidRequest(
            f"a {BACKEND} model answers with a stream: say model_transaction_policy {{ decoupled: true }} and "
            "max_batch_size: 0"
        )
    wanted = [_SEED, _TEXT] if takes_text else [_SEED]
    if sorted(_port(tensor) for tensor in config.input) != wanted:
        raise InvalidRequest(
            f"a {BACKEND} model takes seed INT64 [1], and text_input BYTES [1] where it reads a prompt"
        )
    if sorted(_port(tensor) for tensor in config.output) != sorted(_OUTPUTS):
        told = ", ".join(f"{name} {datatype} {dims}" for name, datatype, dims in _OUTPUTS)
        raise InvalidRequest(f"a {BACKEND} model gives {told}")
    parts = {UNET, TEXT_ENCODER} if takes_text else {UNET}
    given = part_parameters(config)
    if set(given) != parts:
        raise InvalidRequest(
            f"config.pbtxt must name {' and '.join(sorted(parts))} among its parameters, and no other part; "
            f"it names {', '.join(given) or 'none'}"
        )


def _labels(value: object) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or len(value) > _LABELS_MAX
        or not all(isinstance(one, str) and one for one in value)
    ):
        raise InvalidRequest(f"{FACTS}: 'labels' must be a list of texts, none of them empty", path=FACTS)
    return tuple(value)


def _port(tensor: Any) -> tuple[str, str, list[int]]:
    return tensor.name, datatype_name(tensor.data_type), list(tensor.dims)
