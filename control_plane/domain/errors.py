"""What can go wrong, in words that every transport can translate: a type, a stable code, details; never a status."""

from __future__ import annotations

from typing import ClassVar


class DomainError(Exception):
    """Something the caller or an operator can act on.

    `details` are JSON values that go to the client as they are: no paths of the server, no secrets.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidRequest(DomainError):
    """The request's form or a value in it is wrong; asking again unchanged will not help."""

    code = "INVALID_REQUEST"


class UnsupportedFormat(InvalidRequest):
    """A file format that is unknown, or impossible on this device."""

    code = "UNSUPPORTED_FORMAT"


class PayloadTooLarge(InvalidRequest):
    """The body or message is over the configured limit."""

    code = "PAYLOAD_TOO_LARGE"


class NotAuthenticated(DomainError):
    """No credential, or one that is invalid, expired or revoked."""

    code = "UNAUTHORIZED"


class NotPermitted(DomainError):
    """The caller is known, but may not do this."""

    code = "FORBIDDEN"


class NotFound(DomainError):
    """What was asked for does not exist, or not for this caller."""

    code = "NOT_FOUND"


class ModelNotFound(NotFound):
    """No model, revision or alias of that name. Details: `available_models`, `suggestion`."""

    code = "MODEL_NOT_FOUND"


class OptimizationNotFound(NotFound):
    """No optimization of that id."""

    code = "OPTIMIZATION_NOT_FOUND"


class MethodNotAllowed(DomainError):
    """The route exists, but not with this verb. Details: `allowed`."""

    code = "METHOD_NOT_ALLOWED"


class Conflict(DomainError):
    """The request fights the present state."""

    code = "CONFLICT"


class ModelNotReady(Conflict):
    """The model is known but not loaded."""

    code = "MODEL_NOT_READY"


class Unsupported(DomainError):
    """A real feature that this machine or setting cannot provide; `requires`, in details a list, says what it lacks."""

    code = "NOT_SUPPORTED_HERE"

    def __init__(self, message: str, *, requires: str | list[str], **details: object) -> None:
        super().__init__(message, requires=[requires] if isinstance(requires, str) else requires, **details)


class RateLimited(DomainError):
    """Too many requests of one principal. Details: `retry_after_seconds`."""

    code = "RATE_LIMIT_EXCEEDED"


class Unavailable(DomainError):
    """Triton is down, the queue is full, or the server is stopping. Details: `retry_after_seconds`."""

    code = "PIPELINE_UNAVAILABLE"


class TimedOut(DomainError):
    """The deadline passed before the answer came."""

    code = "TIMEOUT"


class EngineFailed(DomainError):
    """Triton executed the request, or tried to load the model, and failed."""

    code = "PROCESSING_FAILED"


class EngineCrashed(EngineFailed):
    """The process that executes a model has died; every request to it fails until it is replaced."""


def error_of(code: str, message: str, details: dict[str, object]) -> DomainError:
    """The error that was once taken apart into these; one of an unknown code is an EngineFailed."""
    kinds = {kind.__dict__["code"]: kind for kind in _family(DomainError) if "code" in kind.__dict__}
    kind = kinds.get(code, EngineFailed)
    if kind is Unsupported:
        details = {"requires": [], **details}
    return kind(message, **details)


def _family(kind: type[DomainError]) -> list[type[DomainError]]:
    return [member for child in kind.__subclasses__() for member in (child, *_family(child))]
