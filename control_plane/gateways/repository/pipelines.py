"""Models that call others inside Triton: which ones their configuration names, and whether those fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, Revision, TensorSpec
from control_plane.domain.references import parse_reference, public_reference
from control_plane.gateways.repository.pbtxt import ModelConfig

_PREFIX = "part."
UNET, TEXT_ENCODER = f"{_PREFIX}unet", f"{_PREFIX}text_encoder"
# What each part of an image model must take and give, by name and datatype; its shapes are for the sampler to judge.
_PORTS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    UNET: ({"sample": "FP32", "timestep": "INT64", "condition": "FP32"}, {"noise": "FP32"}),
    TEXT_ENCODER: ({"input_ids": "INT64", "attention_mask": "INT64"}, {"condition": "FP32"}),
}

PartFinder = Callable[[str], Revision]


def settle_parts(config: ModelConfig | None, find: PartFinder | None) -> tuple[Revision, ...]:
    """Name each part by its revision's directory, so that the pipeline is immutable too; gives the parts.

    `find` gives the revision of a reference. Raises: InvalidRequest.
    """
    if config is None:
        return ()
    parts = []
    for parameter in part_parameters(config):
        named = public_reference(config.parameters[parameter].string_value)
        if find is None:
            raise InvalidRequest(f"config.pbtxt names {named!r} as its {parameter}, and there is no model to find here")
        part = find(named)
        _check(parameter, part)
        config.parameters[parameter].string_value = part.directory
        parts.append(part)
    return tuple(parts)


def part_directories(config: ModelConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys(config.parameters[parameter].string_value for parameter in part_parameters(config)))


def name_publicly(config: ModelConfig) -> None:
    """Name each part by its model's public name, as another Triton has it that is given the parts too."""
    for parameter in part_parameters(config):
        directory = config.parameters[parameter].string_value
        config.parameters[parameter].string_value = parse_reference(public_reference(directory)).name


def with_parts(description: Description, parts: Iterable[Revision]) -> Description:
    """A pipeline has the weights of its parts, unless somebody has said another number."""
    told = [part.description for part in parts]
    if not told:
        return description
    counts = [one.parameters for one in told]
    total = None if None in counts else sum(count for count in counts if count is not None)
    dtypes = {one.dtype for one in told}
    dtype = next(iter(dtypes)) if len(dtypes) == 1 else None
    parameters = total if description.parameters is None else description.parameters
    return replace(description, parameters=parameters, dtype=description.dtype or dtype)


def part_parameters(config: ModelConfig) -> list[str]:
    """The parameters that name a part, in order."""
    return sorted(name for name in config.parameters if name.startswith(_PREFIX))


def _check(parameter: str, part: Revision) -> None:
    if parameter not in _PORTS:
        return
    takes, gives = _PORTS[parameter]
    fits = takes == _datatypes(part.signature.inputs) and gives.items() <= _datatypes(part.signature.outputs).items()
    if not fits or part.signature.max_batch_size or part.signature.is_decoupled:
        raise InvalidRequest(
            f"config.pbtxt names {part.model}:{part.number} as its {parameter}, which must take {_told(takes)} "
            f"and give {_told(gives)}, with max_batch_size: 0"
        )


def _datatypes(specs: Iterable[TensorSpec]) -> dict[str, Any]:
    return {spec.name: spec.datatype for spec in specs}


def _told(ports: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {datatype}" for name, datatype in ports.items())
