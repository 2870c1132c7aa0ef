"""Domain errors as gRPC statuses: a row for every code that an error of ours can carry (contract 1.2)."""

from __future__ import annotations

from collections.abc import Mapping

from grpc import StatusCode

from control_plane.domain.errors import DomainError
from control_plane.edge.refusals import retry_after_s

STATUSES: Mapping[str, StatusCode] = {
    "INVALID_REQUEST": StatusCode.INVALID_ARGUMENT,
    "UNSUPPORTED_FORMAT": StatusCode.INVALID_ARGUMENT,
    "PAYLOAD_TOO_LARGE": StatusCode.RESOURCE_EXHAUSTED,
    "UNAUTHORIZED": StatusCode.UNAUTHENTICATED,
    "FORBIDDEN": StatusCode.PERMISSION_DENIED,
    "NOT_FOUND": StatusCode.NOT_FOUND,
    "OPTIMIZATION_NOT_FOUND": StatusCode.NOT_FOUND,
    "MODEL_NOT_FOUND": StatusCode.NOT_FOUND,
    "METHOD_NOT_ALLOWED": StatusCode.UNIMPLEMENTED,
    "CONFLICT": StatusCode.ABORTED,
    "MODEL_NOT_READY": StatusCode.FAILED_PRECONDITION,
    "NOT_SUPPORTED_HERE": StatusCode.UNIMPLEMENTED,
    "RATE_LIMIT_EXCEEDED": StatusCode.RESOURCE_EXHAUSTED,
    "PIPELINE_UNAVAILABLE": StatusCode.UNAVAILABLE,
    "TIMEOUT": StatusCode.DEADLINE_EXCEEDED,
    "PROCESSING_FAILED": StatusCode.INTERNAL,
    "INTERNAL_ERROR": StatusCode.INTERNAL,
}
# The text travels percent-encoded in the trailers, three bytes for one, and gRPC drops trailers above 8 KiB.
MESSAGE_BYTES_MAX = 2000


def message_of(error: DomainError) -> str:
    """The error's message, cut to what fits into trailers."""
    encoded = error.message.encode()
    if len(encoded) <= MESSAGE_BYTES_MAX:
        return error.message
    return encoded[:MESSAGE_BYTES_MAX].decode(errors="ignore") + " ..."


def trailers_of(error: DomainError, request_id: str) -> tuple[tuple[str, str], ...]:
    """The trailing metadata of a call that failed. Units: `retry-after` is whole seconds, rounded up."""
    trailers = [("x-request-id", request_id), ("x-error-code", error.code)]
    after_s = retry_after_s(error)
    if after_s is not None:
        trailers.append(("retry-after", str(after_s)))
    return tuple(trailers)
