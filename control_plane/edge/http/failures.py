"""Errors as HTTP answers: a status for every code that an error of ours can carry (contract 1.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from control_plane.domain.errors import DomainError
from control_plane.edge.http.envelopes import owner_of
from control_plane.edge.http.replies import Headers, Reply
from control_plane.edge.refusals import retry_after_s
from control_plane.edge.times import rfc3339_now

STATUSES: Mapping[str, int] = {
    "INVALID_REQUEST": 400,
    "UNSUPPORTED_FORMAT": 400,
    "PAYLOAD_TOO_LARGE": 413,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "OPTIMIZATION_NOT_FOUND": 404,
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
