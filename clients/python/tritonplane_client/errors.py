"""What can go wrong between a caller and a tritonplane server, and how the server's error bodies are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SHOWN_BODY_CHARACTERS = 200


class TritonplaneError(Exception):
    """Anything that this package raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidArgument(TritonplaneError, ValueError):
    """What was asked cannot be sent: an address that is none, a key no header can carry, an empty directory."""


class ConnectionFailed(TritonplaneError):
    """No server could be reached; the request was not carried out."""


class ConnectionLost(TritonplaneError):
    """The connection broke before the answer; the request may or may not have been carried out."""


class RequestTimedOut(TritonplaneError):
    """The server stayed silent for longer than the timeout; it may still be at work."""


class StreamInterrupted(TritonplaneError):
    """A stream ended before its last token."""


class UnexpectedAnswer(TritonplaneError):
    """Something answered, but not as a tritonplane server does."""


class ApiError(TritonplaneError):
    """The server refused or failed, and said why.

    `status` is None for an error that came inside a stream, after its 200. `code` is the server's stable word
    (`MODEL_NOT_FOUND`); the KServe routes send none. `retry_after_s`: seconds, where the server named a time.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details: dict[str, Any] = dict(details or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class BadRequestError(ApiError):
    """400: the request's form or a value in it is wrong."""


class AuthenticationError(ApiError):
    """401: no credential, or one that is invalid, expired or revoked."""


class PermissionDeniedError(ApiError):
    """403: the caller is known, but may not do this."""


class NotFoundError(ApiError):
    """404: no such model, key or route. For a model, `details` may hold `available_models` and `suggestion`."""


class ConflictError(ApiError):
    """409: the request fights the present state, for example a model that is not loaded."""


class PayloadTooLargeError(ApiError):
    """413: the body is over the server's limit."""


class RateLimitedError(ApiError):
    """429: too many requests; `retry_after_s` says when there is room again."""


class ServerError(ApiError):
    """5xx: the server or Triton failed."""


class UnsupportedError(ServerError):
    """501: a real feature that this server's machine cannot provide; see `details["requires"]`."""


class UnavailableError(ServerError):
    """503: Triton is down, the queue is full, or the server is stopping."""


class DeadlineExceededError(ServerError):
    """504: the server's own time limit passed before the answer came."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: PayloadTooLargeError,
    429: RateLimitedError,
    501: UnsupportedError,
    503: UnavailableError,
    504: DeadlineExceededError,
}
# An error inside a stream has a code only; these are the statuses that the code would have had before the 200.
_STATUS_OF_CODE = {
    "INVALID_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "MODEL_NOT_FOUND": 404,
    "CONFLICT": 409,
    "MODEL_NOT_READY": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "RATE_LIMIT_EXCEEDED": 429,
    "PROCESSING_FAILED": 500,
    "INTERNAL_ERROR": 500,
    "NOT_SUPPORTED_HERE": 501,
    "PIPELINE_UNAVAILABLE": 503,
    "TIMEOUT": 504,
}


def read_error(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """The error that a response tells of, whichever of the server's envelopes it is in, or none of them."""
    envelope = _json_object(body)
    message, code, details = _unwrap(envelope)
    if not message:
        shown = body[:SHOWN_BODY_CHARACTERS].decode("utf-8", "replace").strip()
        message = f"the server answered with status {status}" + (f": {shown}" if shown else "")
    return _class_for(status)(
        message,
        status=status,
        code=code,
        details=details,
        request_id=_request_id(envelope, details) or headers.get("x-request-id"),
        retry_after_s=_seconds(headers.get("retry-after")),
    )


def read_stream_error(frame: Mapping[str, Any]) -> ApiError:
    """The error in a frame that took the place of a token."""
    message, code, details = _unwrap(frame)
    family = _class_for(_STATUS_OF_CODE.get(code or "", 500))
    return family(message or "the stream failed", code=code, details=details, request_id=_request_id(frame, details))


def _class_for(status: int) -> type[ApiError]:
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)


def _unwrap(envelope: Mapping[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """Message, code and details of `{"error": "text", ...}` (TruthGPT, KServe) or `{"error": {...}}` (all others)."""
    error = envelope.get("error")
    inner = error if isinstance(error, dict) else {**envelope, "message": error}
    message, code, details = inner.get("message"), inner.get("code"), inner.get("details")
    return (
        message if isinstance(message, str) else "",
        code if isinstance(code, str) else None,
        details if isinstance(details, dict) else {},
    )


def _request_id(envelope: Mapping[str, Any], details: Mapping[str, Any]) -> str | None:
    error = envelope.get("error")
    found = (error.get("request_id") if isinstance(error, dict) else None) or details.get("request_id")
    return found if isinstance(found, str) else None


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    # The header may also be a date; our server never sends one, so it is treated as no word at all.
    return float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else None
