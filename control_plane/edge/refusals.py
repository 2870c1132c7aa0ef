"""What every API says of a server that is stopping, of a fault of its own, and of when to ask again."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from control_plane.domain.errors import DomainError, Unavailable

log = logging.getLogger(__name__)
STOPPING_RETRY_S = 5  # about as long as a restart takes


def stopping() -> Unavailable:
    return Unavailable("the server is stopping", retry_after_seconds=STOPPING_RETRY_S)


def unexpected(error: BaseException, *, debug: bool = False) -> DomainError:
    """What a caller is told of a bug: nothing, unless the operator asked for it."""
    trace = {"trace": traceback.format_exception(error)} if debug else {}
    return DomainError("internal error; the server's log has the reason under this request id", **trace)


def fault(error: BaseException, request_id: str, *, debug: bool = False) -> DomainError:
    """The log has all of a bug, its caller what `unexpected` says."""
    log.error("unexpected failure", extra={"request_id": request_id}, exc_info=error)
    return unexpected(error, debug=debug)


@contextmanager
def faults_told(request_id: str, *, debug: bool = False) -> Iterator[None]:
    """Whatever is raised inside is a DomainError outside: for the edge only, which tells of it."""
    try:
        yield
    except DomainError:
        raise
    except Exception as error:
        raise fault(error, request_id, debug=debug) from error


def retry_after_s(error: DomainError) -> int | None:
    """When to ask again, in whole seconds, rounded up; None where nobody knows."""
    seconds = error.details.get("retry_after_seconds")
    return math.ceil(seconds) if isinstance(seconds, int | float) else None
