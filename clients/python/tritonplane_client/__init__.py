"""Python client of tritonplane: models, keys, inference, images and streams over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritonplane_client.drawings import DrawingStep, Drawn
from tritonplane_client.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceededError,
    InvalidArgument,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    RequestTimedOut,
    ServerError,
    StreamInterrupted,
    TritonplaneError,
    UnavailableError,
    UnexpectedAnswer,
    UnsupportedError,
)
from tritonplane_client.retries import NO_RETRIES, Retries
from tritonplane_client.tokens import Token
from tritonplane_client.version import __version__

if TYPE_CHECKING:
    from tritonplane_client.async_client import AsyncApiClient
    from tritonplane_client.client import ApiClient

__all__ = [
    "NO_RETRIES",
    "ApiClient",
    "ApiError",
    "AsyncApiClient",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "ConnectionFailed",
    "ConnectionLost",
    "DeadlineExceededError",
    "DrawingStep",
    "Drawn",
    "InvalidArgument",
    "NotFoundError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RequestTimedOut",
    "Retries",
    "ServerError",
    "StreamInterrupted",
    "Token",
    "TritonplaneError",
    "UnavailableError",
    "UnexpectedAnswer",
    "UnsupportedError",
    "__version__",
]


def __getattr__(name: str) -> object:
    # httpx takes longer to import than all of this package; a command line that only prints its help goes without it.
    if name == "ApiClient":
        from tritonplane_client.client import ApiClient  # noqa: PLC0415

        return ApiClient
    if name == "AsyncApiClient":
        from tritonplane_client.async_client import AsyncApiClient  # noqa: PLC0415

        return AsyncApiClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
