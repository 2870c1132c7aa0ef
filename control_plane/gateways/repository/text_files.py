"""What the model directories of the text backends have in common: a tokenizer, and a JSON file of facts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, Signature
from control_plane.gateways.repository.layout import MODEL_FILE, VERSION
from control_plane.gateways.repository.pbtxt import InstanceKind, ModelConfig, datatype_number, new_config

_TOKENIZER = f"{VERSION}/tokenizer.json"
_JSON_BYTES_MAX = 64 * 2**20  # the largest tokenizers in use are near 20 MB


class TextFacts(Protocol):
    """The file of facts of a text backend, read and checked."""

    BACKEND: ClassVar[str]
    FILE: ClassVar[str]

    @property
    def description(self) -> Description:
        """What is said of the model where nobody says more."""

    def config(self) -> ModelConfig:
        """A whole configuration for a directory without one."""

    def check(self, config: ModelConfig, signature: Signature) -> None:
        """The backend can serve this configuration and this graph. Raises InvalidRequest."""


def read_facts(stage: Path, backend: str, path: str) -> dict[str, Any]:
    """The facts in `path`; all files that the backend opens are there. Raises InvalidRequest."""
    for needed in (MODEL_FILE, _TOKENIZER, path):
        if not (stage / needed).is_file():
            raise InvalidRequest(f"a {backend} model needs {needed}", path=needed)
    if "model" not in read_object(stage, _TOKENIZER):
        raise InvalidRequest(f"{_TOKENIZER} is no Hugging Face tokenizer: it has no 'model'", path=_TOKENIZER)
    return read_object(stage, path)


def check_counts(facts: Mapping[str, Any], keys: Collection[str], path: str) -> None:
    """Raises InvalidRequest for what is no number above 0."""
    for key in keys:
        if not is_count(facts.get(key)) or facts[key] == 0:
            raise InvalidRequest(f"{path}: {key!r} must be a number above 0", path=path)


def is_count(value: object) -> bool:
    """A whole number from 0 that fits into 32 bits, as token ids and sizes do."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def text_config(backend: str, outputs: Iterable[tuple[str, str, int]], parameters: Mapping[str, int]) -> ModelConfig:
    """A configuration that takes `text_input`, gives `outputs` (name, datatype, size) and runs on the CPU."""
    config = new_config()
    config.backend = backend
    config.input.add(name="text_input", data_type=datatype_number("BYTES"), dims=[1])
    for name, datatype, size in outputs:
        config.output.add(name=name, data_type=datatype_number(datatype), dims=[size])
    config.instance_group.add(count=1, kind=InstanceKind.KIND_CPU)
    for name, value in parameters.items():
        config.parameters[name].string_value = str(value)
    return config


def read_object(stage: Path, path: str) -> dict[str, Any]:
    """Raises InvalidRequest."""
    if (stage / path).stat().st_size > _JSON_BYTES_MAX:
        raise InvalidRequest(f"{path} is over {_JSON_BYTES_MAX} bytes", path=path)
    try:
        value = json.loads((stage / path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not JSON", path=path) from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"{path} must be a JSON object", path=path)
    return value
