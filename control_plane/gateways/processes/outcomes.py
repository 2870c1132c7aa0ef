"""How a conversion ended, in the domain's words."""

from __future__ import annotations

import signal
from pathlib import Path

from control_plane.domain.errors import (
    DomainError,
    EngineFailed,
    InvalidRequest,
    Unavailable,
    Unsupported,
    UnsupportedFormat,
)
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description, ModelKind
from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.ports import Conversion
from converters.contract import Converted, Event, Facts, Failed

_ERRORS: dict[str, type[DomainError]] = {
    error.code: error for error in (InvalidRequest, UnsupportedFormat, EngineFailed, Unavailable)
}
_OUT_OF_MEMORY = "it most likely needed more memory than there is"
_DEATHS = {
    signal.SIGKILL: f"it was killed; {_OUT_OF_MEMORY}",
    signal.SIGABRT: f"one of its libraries gave up (SIGABRT); {_OUT_OF_MEMORY}, or the model is malformed",
}


def conversion_of(last: Event | None, returncode: int, workspace: Path) -> Conversion:
    """What the last event of a child says. Raises the domain error that it is, or EngineFailed for none."""
    match last:
        case Converted(directory, facts, record) if returncode == 0:
            return Conversion(_inside(directory, workspace), _description(facts), record)
        case Failed():
            raise failure_of(last, workspace)
    if returncode < 0:
        number = signal.Signals(-returncode)
        raise EngineFailed(f"the conversion broke off: {_DEATHS.get(number, f'it crashed ({number.name})')}")
    raise EngineFailed(f"the conversion ended with code {returncode} and without an answer; its log says more")


def failure_of(failed: Failed, workspace: Path) -> DomainError:
    message = scrubbed(failed.message.replace(str(workspace), ""))
    details: JsonObject = {name: value for name, value in failed.details.items() if name not in ("message", "requires")}
    if failed.code == Unsupported.code:
        requires = failed.details.get("requires", "converter_environment")
        return Unsupported(message, requires=requires if isinstance(requires, list) else str(requires), **details)
    return _ERRORS.get(failed.code, EngineFailed)(message, **details)


def _inside(directory: str, workspace: Path) -> Path:
    model = Path(directory)
    if not model.resolve().is_relative_to(workspace.resolve()):
        raise EngineFailed("the conversion answered with a folder outside its own")
    return model


def _description(facts: Facts) -> Description:
    try:
        kind = ModelKind(facts.kind)
    except ValueError as error:
        raise EngineFailed(f"the conversion made a model of the unknown kind {facts.kind!r}") from error
    return Description(
        kind=kind,
        tasks=facts.tasks,
        parameters=facts.parameters,
        dtype=facts.dtype,
        context_length=facts.context_length,
        labels=facts.labels,
    )
