"""The call that is being answered: its id, and who makes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from ulid import ULID

from control_plane.domain.access import Principal
from control_plane.services.access import Presented

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class Call:
    """`principal` is None in a method that is open to everybody."""

    request_id: str
    principal: Principal | None


# gRPC's own context cannot carry anything of ours, and a servicer's methods have no other parameter.
_CALL: ContextVar[Call] = ContextVar("grpc_call")


def this_call() -> Call:
    return _CALL.get()


def begin(call: Call) -> None:
    """Make `call` what `this_call` answers with, in this task."""
    _CALL.set(call)


def request_id_of(metadata: Mapping[str, str | bytes]) -> str:
    """The caller's own id where it is a usable one, else a new one."""
    given = metadata.get("x-request-id")
    if isinstance(given, str) and _REQUEST_ID.fullmatch(given):
        return given
    return f"req_{ULID()}"


def presented_in(metadata: Mapping[str, str | bytes]) -> Presented:
    return Presented(_text(metadata.get("authorization")), _text(metadata.get("x-api-key")))


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value
