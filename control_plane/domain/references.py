"""How a model is named: `name` (its alias `stable`), `name:N` (revision N) or `name@alias`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from control_plane.domain.errors import InvalidRequest

STABLE = "stable"
# A model name becomes a directory and, inside Triton, an argument of an unquoted shell command.
NAME_PATTERN, REVISION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", r"[1-9][0-9]{0,8}"
REFERENCE_PATTERN = rf"^{NAME_PATTERN}(:{REVISION_PATTERN}|@{NAME_PATTERN})?$"
_NAME, _REVISION = re.compile(NAME_PATTERN), re.compile(REVISION_PATTERN)
_RESERVED = re.compile(r".*--r[0-9]+")
_DIRECTORY = re.compile(rf"(?P<name>{NAME_PATTERN})--r(?P<number>{REVISION_PATTERN})")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model and which of its revisions is meant: a number, or an alias that points at one."""

    name: str
    revision: int | None = None
    alias: str = STABLE

    def __str__(self) -> str:
        if self.revision is not None:
            return f"{self.name}:{self.revision}"
        return self.name if self.alias == STABLE else f"{self.name}@{self.alias}"


def parse_reference(text: str) -> ModelReference:
    """Raises InvalidRequest for anything that cannot name a model."""
    if ":" in text:
        name, _, revision = text.partition(":")
        if not _REVISION.fullmatch(revision):
            raise InvalidRequest(
                f"{text[:200]!r} is no model reference: after ':' comes a revision number, as in 'name:3'"
            )
        return ModelReference(_checked(name, text), int(revision))
    name, at, alias = text.partition("@")
    if not at:
        return ModelReference(_checked(name, text))
    if not _NAME.fullmatch(alias):
        raise InvalidRequest(f"{text[:200]!r} is no model reference: after '@' comes an alias, as in 'name@candidate'")
    return ModelReference(_checked(name, text), alias=alias)


def check_new_name(name: str) -> str:
    """The name, if a new model may carry it. Raises InvalidRequest."""
    if _RESERVED.fullmatch(name):
        raise InvalidRequest(
            f"a model name may not end in '--r<number>': {name!r}; that form names revisions in Triton"
        )
    return _checked(name, name)


def revision_directory(name: str, revision: int) -> str:
    """The name of a revision's directory, which is its model name inside Triton."""
    return f"{name}--r{revision}"


def public_reference(directory: str) -> str:
    """The reference of a revision whose directory this is; any other name inside Triton stays as it is."""
    match = _DIRECTORY.fullmatch(directory)
    return f"{match['name']}:{match['number']}" if match else directory


def _checked(name: str, text: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{text[:200]!r} cannot name a model: use 1 to 100 letters, digits, '.', '_', '-', first a letter or digit"
        )
    return name
