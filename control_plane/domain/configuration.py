"""A setting as the server runs with it, for who asks what is set and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    OPTION = "option"  # of the command line
    ENVIRONMENT = "environment"
    FILE = "file"  # tritonplane.toml
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """`value` is JSON; of a secret it only says whether there is one."""

    name: str
    value: object
    origin: Origin
