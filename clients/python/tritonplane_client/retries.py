"""When a failed request is sent again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tritonplane_client.errors import ApiError, ConnectionLost, RequestTimedOut, TritonplaneError

REFUSED_FOR_NOW = frozenset({429, 503})
PASSING = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """Which failures are tried again.

    A 429 or 503 that names a `Retry-After` of at most `longest_wait_s` was refused before any work began, so it is
    sent again whatever its verb, after that time. A GET, or a request under an idempotency key, is also sent again
    after a lost connection, a timeout, 502, 503 or 504, after `first_wait_s` doubled each time, with up to half of it
    added at random. Nothing else is: not another POST that may have done something, not a connection that nobody
    accepted, and never a stream that has begun.
    Units: `attempts` counts the tries after the first.
    """

    attempts: int = 2
    first_wait_s: float = 0.25
    longest_wait_s: float = 20.0

    def wait_s(self, failure: TritonplaneError, attempt: int, *, is_repeatable: bool) -> float | None:
        """Seconds to wait before trying again after try number `attempt` (from 0); None to give up."""
        if attempt >= self.attempts:
            return None
        if isinstance(failure, ApiError) and failure.status in REFUSED_FOR_NOW and failure.retry_after_s is not None:
            return failure.retry_after_s if failure.retry_after_s <= self.longest_wait_s else None
        if not is_repeatable or not _is_passing(failure):
            return None
        wait_s = self.first_wait_s * (1 << attempt)
        # Clients that failed together should not come back together.
        return min(wait_s + random.uniform(0, wait_s / 2), self.longest_wait_s)  # noqa: S311


DEFAULT_RETRIES = Retries()
NO_RETRIES = Retries(attempts=0)


def _is_passing(failure: TritonplaneError) -> bool:
    if isinstance(failure, ApiError):
        return failure.status in PASSING
    return isinstance(failure, ConnectionLost | RequestTimedOut)
