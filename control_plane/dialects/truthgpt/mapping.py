"""What TruthGPT's words mean, and how our answers are said in them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from control_plane.dialects.truthgpt.protocol import Status
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import LoadOptions, ModelFilter, ModelKind, ModelRecord, ModelState, RevisionStatus
from control_plane.domain.references import STABLE, ModelReference, parse_reference

STATUSES: Mapping[ModelState, Status] = {
    ModelState.UNLOADED: "unloaded",
    ModelState.LOADING: "unloaded",
    ModelState.LOADED: "loaded",
    ModelState.OPTIMIZING: "optimizing",
    ModelState.UNLOADING: "loaded",
    ModelState.DEGRADED: "loaded",
    ModelState.DEAD: "unloaded",
    ModelState.FAILED: "unloaded",
}
DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "float16", "bfloat16", "int8")
BACKENDS = ("python", "onnx", "tensorrt")
TIMEOUT_S_MAX = 3600
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Loading:
    """What a LoadModelRequest asks for. `kind` None: whatever the model is."""

    reference: str
    kind: ModelKind | None
    options: LoadOptions

    def check_kind(self, actual: ModelKind) -> None:
        if self.kind is not None and self.kind is not actual:
            raise InvalidRequest(
                f"model {self.reference!r} is of type {actual.value}, not {self.kind.value}", field="model_type"
            )


def status_of(state: ModelState) -> Status:
    return STATUSES[state]


def canonical_id(status: RevisionStatus, record: ModelRecord) -> str:
    """The model's name for the revision that a bare name means, `name:N` for any other."""
    revision = status.revision
    is_stable = record.aliases.get(STABLE) == revision.number
    return revision.model if is_stable else f"{revision.model}:{revision.number}"


def to_filter(model_type: str | None, status: str | None, *, with_internal: bool = False) -> ModelFilter:
    """Raises InvalidRequest for a word outside the enums."""
    states = frozenset(state for state, word in STATUSES.items() if word == status)
    if status and not states:
        raise _unknown("status", status, sorted(set(STATUSES.values())))
    return ModelFilter(to_kind(model_type), states, with_internal)


def to_kind(model_type: str | None) -> ModelKind | None:
    if not model_type:
        return None
    try:
        return ModelKind(model_type)
    except ValueError:
        raise _unknown("model_type", model_type, [kind.value for kind in ModelKind]) from None


def to_time(field: str, text: str | None) -> datetime | None:
    """In UTC. Raises InvalidRequest for anything but an RFC 3339 time with its zone."""
    if text is None:
        return None
    try:
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or one outside the calendar
        pass
    raise InvalidRequest(
        f"{field} is no RFC 3339 time: {text[:100]!r}; write it as 2026-11-21T12:00:00Z, or with an offset "
        "(its '+' is %2B in a URL)",
        field=field,
    )


def to_loading(model_name: str, model_type: str | None, config: Mapping[str, Any]) -> Loading:
    """Raises InvalidRequest, naming the key that is unknown or wrong."""
    options, version = dict(config), config.get("version")
    options.pop("version", None)
    reference = parse_reference(model_name)
    if version is not None:
        number = _integer(1, 10**9 - 1)("version", version)
        if reference.revision not in (None, number):
            raise InvalidRequest(f"version {number} contradicts model_name {model_name!r}", field="config.version")
        reference = ModelReference(reference.name, number)
    return Loading(str(reference), to_kind(model_type), to_load_options(options))


def to_load_options(config: Mapping[str, Any]) -> LoadOptions:
    """Values may be strings, as gRPC and the seed's OpenAPI document have them, or of their own type."""
    unknown = sorted(set(config) - set(_KEYS))
    if unknown:
        raise InvalidRequest(
            f"unknown config key {unknown[0][:100]!r}", field=f"config.{unknown[0][:100]}", known=[*_KEYS, "version"]
        )
    given = {key: value for key, value in config.items() if value is not None}
    return LoadOptions(**{_KEYS[key][0]: _KEYS[key][1](key, value) for key, value in given.items()})


Parse = Callable[[str, object], Any]


def _one_of(*known: str) -> Parse:
    def parse(key: str, value: object) -> str:
        if value not in known:
            raise _unknown(f"config.{key}", str(value), list(known))
        return str(value)

    return parse


def _integer(low: int, high: int) -> Parse:
    def parse(key: str, value: object) -> int:
        number = _number(key, value)
        if not (low <= number <= high and number == int(number)):
            raise InvalidRequest(f"config.{key} must be a whole number, {low} to {high}", field=f"config.{key}")
        return int(number)

    return parse


def _seconds(key: str, value: object) -> float:
    number = _number(key, value)
    if not 0 < number <= TIMEOUT_S_MAX:
        raise InvalidRequest(f"config.{key} must be above 0 and at most {TIMEOUT_S_MAX}", field=f"config.{key}")
    return number


def _number(key: str, value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise InvalidRequest(f"config.{key} must be a number", field=f"config.{key}")


def _unknown(field: str, value: str, known: list[str]) -> InvalidRequest:
    return InvalidRequest(f"{field} cannot be {value[:100]!r}; known are {', '.join(known)}", field=field, known=known)


# The config's keys: which option each sets, and how its value is read.
_KEYS: Mapping[str, tuple[str, Parse]] = {
    "device": ("device", _one_of(*DEVICES)),
    "dtype": ("dtype", _one_of(*DTYPES)),
    "backend": ("backend", _one_of(*BACKENDS)),
    "instance_count": ("instance_count", _integer(1, 64)),
    "max_batch_size": ("max_batch_size", _integer(0, 65_536)),
    "dynamic_batching_delay_us": ("queue_delay_us", _integer(0, 10_000_000)),
    "timeout_seconds": ("timeout_s", _seconds),
}
