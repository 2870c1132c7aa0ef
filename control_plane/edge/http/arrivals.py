"""What is read off a request before anything else: its id, its declared size, its credentials."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from control_plane.domain.errors import InvalidRequest, PayloadTooLarge
from control_plane.edge.request_ids import request_id
from control_plane.services.access import Presented


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    return request_id(given.decode("latin-1") if given is not None else None)


def credentials_of(headers: Mapping[bytes, bytes], query: bytes) -> tuple[bytes, bytes]:
    """The values of Authorization and X-API-Key. `query` is the query string where a token may stand in it, else b''.

    An EventSource cannot set headers (C-AUTH-09); a header wins over the query.
    """
    authorization, api_key = headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")
    if query and not authorization and b"token=" in query:
        tokens = parse_qs(query.decode("latin-1")).get("token", [])
        authorization = f"Bearer {tokens[0]}".encode() if tokens else b""
    return authorization, api_key


def presented_in(authorization: bytes, api_key: bytes) -> Presented:
    return Presented(authorization.decode("latin-1") or None, api_key.decode("latin-1") or None)


def check_declared_size(headers: Mapping[bytes, bytes], limit_bytes: int) -> None:
    """Raises PayloadTooLarge. A body that declares nothing is counted while it is read."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise too_large(limit_bytes)


def too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is over {limit_bytes} bytes", limit_bytes=limit_bytes)


def broken_off() -> InvalidRequest:
    """For the counts: nobody is there to read it."""
    return InvalidRequest("the caller left before the body was whole", reason="json")
