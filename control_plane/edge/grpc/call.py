"""The call that is being answered: its id, and who makes it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import unquote

from control_plane.domain.access import Principal
from control_plane.edge.quotas import Visit
from control_plane.edge.request_ids import request_id
from control_plane.services.access import Presented


@dataclass(frozen=True, slots=True)
class Call:
    """`visit`: who calls, nobody in a method that is open to everybody."""

    request_id: str
    visit: Visit

    @property
    def principal(self) -> Principal | None:
        return self.visit.principal

    @property
    def caller(self) -> str:
        """The principal's id, empty where there is none."""
        return self.principal.id if self.principal is not None else ""


# gRPC's own context cannot carry anything of ours, and a servicer's methods have no other parameter.
_CALL: ContextVar[Call] = ContextVar("grpc_call")


def this_call() -> Call:
    return _CALL.get()


def begin(call: Call) -> None:
    """Make `call` what `this_call` answers with, in this task."""
    _CALL.set(call)


def request_id_of(metadata: Mapping[str, str | bytes]) -> str:
    given = metadata.get("x-request-id")
    return request_id(given if isinstance(given, str) else None)


def presented_in(metadata: Mapping[str, str | bytes]) -> Presented:
    return Presented(_text(metadata.get("authorization")), _text(metadata.get("x-api-key")))


def address_of(peer: str) -> str:
    """The address in gRPC's word for a caller: `ipv4:1.2.3.4:5`, `ipv6:%5B::1%5D:5`; empty for a Unix socket."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value
