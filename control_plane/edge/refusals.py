"""What every API says of a server that is stopping, of a fault of its own, and of when to ask again."""

from __future__ import annotations

import math
import traceback

from control_plane.domain.errors import DomainError, Unavailable

STOPPING_RETRY_S = 5  # about as long as a restart takes


def stopping() -> Unavailable:
    return Unavailable("the server is stopping", retry_after_seconds=STOPPING_RETRY_S)


def unexpected(error: BaseException, *, debug: bool = False) -> DomainError:
    """What a caller is told of a bug: nothing, unless the operator asked for it."""
    trace = {"trace": traceback.format_exception(error)} if debug else {}
    return DomainError("internal error; the server's log has the reason under this request id", **trace)


def retry_after_s(error: DomainError) -> int | None:
    """When to ask again, in whole seconds, rounded up; None where nobody knows."""
    seconds = error.details.get("retry_after_seconds")
    return math.ceil(seconds) if isinstance(seconds, int | float) else None
