"""Errors as HTTP answers: a status for every code that an error of ours can carry (contract 1.2)."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping

from control_plane.domain.errors import DomainError, Unavailable
from control_plane.edge.http.envelopes import owner_of, retry_after_s
from control_plane.edge.http.replies import Headers, Reply
from control_plane.edge.times import rfc3339_now

STATUSES: Mapping[str, int] = {
    "INVALID_REQUEST": 400,
    "UNSUPPORTED_FORMAT": 400,
    "PAYLOAD_TOO_LARGE": 413,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "MODEL_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "MODEL_NOT_READY": 409,
    "NOT_SUPPORTED_HERE": 501,
    "RATE_LIMIT_EXCEEDED": 429,
    "PIPELINE_UNAVAILABLE": 503,
    "TIMEOUT": 504,
    "PROCESSING_FAILED": 500,
    "INTERNAL_ERROR": 500,
}
STOPPING_RETRY_S = 5  # about as long as a restart takes


def stopping() -> Unavailable:
    return Unavailable("the server is stopping", retry_after_seconds=STOPPING_RETRY_S)


def unexpected(error: BaseException, *, debug: bool) -> DomainError:
    """What a caller is told of a bug: nothing, unless the operator asked for it."""
    trace = {"trace": traceback.format_exception(error)} if debug else {}
    return DomainError("internal error; the server's log has the reason under this request id", **trace)


def failure(error: DomainError, path: str, request_id: str) -> Reply:
    """The answer in the words of the API that owns the path."""
    body = owner_of(path).envelope(error, request_id, rfc3339_now())
    # Escaped to ASCII: a name in the message may hold what UTF-8 cannot say.
    return Reply(json.dumps(body, default=str).encode(), STATUSES[error.code], headers=_headers(error))


def _headers(error: DomainError) -> Headers:
    headers: Headers = []
    if error.code == "UNAUTHORIZED":
        headers.append((b"www-authenticate", b"Bearer"))
    after_s = retry_after_s(error)
    if after_s is not None:
        headers.append((b"retry-after", b"%d" % after_s))
    allowed = error.details.get("allowed")
    if error.code == "METHOD_NOT_ALLOWED" and isinstance(allowed, list):
        headers.append((b"allow", ", ".join(allowed).encode()))
    return headers
