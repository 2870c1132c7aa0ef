"""What Triton's errors mean: by text first, because its status codes are reused, then by code."""

from __future__ import annotations

import re
from collections.abc import Callable

import grpc

from control_plane.domain.errors import (
    Conflict,
    DomainError,
    EngineCrashed,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    NotFound,
    PayloadTooLarge,
    TimedOut,
    Unavailable,
    Unsupported,
)

RETRY_AFTER_S = 1
MESSAGE_MAX = 500
_PATH = re.compile(r"(?<![\w.:/\\-])/(?:[\w.+@~-]+/)*([\w.+@~-]+)/?")
_REQUEST_ID = re.compile(r"^\[request id: [^\]]*\] ?")
_FRAME = re.compile(r"^Failed to process the request\(s\) for model '[^']*', message: ")
# What a client did wrong, said by the core before the model sees the request (and, in a stream, without a code).
_INVALID = re.compile(
    r"unexpected (shape|datatype|data-type|inference (input|output))|expected \d+ inputs?|size mismatch"
    r"|batch-size must be|missing \d+ required|must specify|unexpected total byte size"
)
_LOST = ("failed to connect", "socket closed", "stream removed", "connection re", "recvmsg", "broken pipe", "goaway")

Builder = Callable[[str, str], DomainError]


def translate(error: grpc.aio.AioRpcError, directory: str) -> DomainError:
    """A failed call for a model directory (or "") as a domain error."""
    return failure(error.details() or "", error.code(), directory)


def failure(text: str, code: grpc.StatusCode | None, directory: str) -> DomainError:
    """`code` is None for an error inside a stream: Triton sends text only."""
    told = text.lower()
    for fragment, build in _BY_TEXT:
        if fragment in told:
            return build(text, directory)
    if code is grpc.StatusCode.UNAVAILABLE and any(fragment in told for fragment in _LOST):
        return unanswered()
    if code is None and _INVALID.search(told):
        return InvalidRequest(sanitized(text))
    return _BY_CODE.get(code, _failed)(text, directory)


def unanswered() -> Unavailable:
    return Unavailable("Triton does not answer; it may be restarting", retry_after_seconds=RETRY_AFTER_S)


def crashed(directory: str) -> EngineCrashed:
    return EngineCrashed(f"the process that executes {directory!r} has died; it is being replaced")


def sanitized(text: str) -> str:
    """One line that says why, without tracebacks, paths of the server, or Triton's own framing."""
    text = _REQUEST_ID.sub("", text.strip())
    head, has_traceback, trace = text.partition("Traceback (most recent call last)")
    if has_traceback:
        head = f"{head.rstrip(': ')} {trace.strip().splitlines()[-1]}".strip()
    head = head.split("\n\nAt:")[0]
    return _PATH.sub(r"\1", " ".join(head.split()))[:MESSAGE_MAX] or "Triton gave no reason"


def _failed(text: str, directory: str) -> DomainError:
    return EngineFailed(sanitized(_FRAME.sub("", text)))


def _crashed(text: str, directory: str) -> DomainError:
    return crashed(directory)


def _busy(text: str, directory: str) -> DomainError:
    return Unavailable(sanitized(text), retry_after_seconds=RETRY_AFTER_S)


def _not_ready(text: str, directory: str) -> DomainError:
    return ModelNotReady(f"{directory!r} is not loaded in Triton")


def _unknown(text: str, directory: str) -> DomainError:
    return ModelNotFound(f"Triton has no model {directory!r}")


def _late(text: str, directory: str) -> DomainError:
    return TimedOut(f"{directory!r} did not answer in time" if directory else "Triton did not answer in time")


def _queue_late(text: str, directory: str) -> DomainError:
    return TimedOut(f"the request waited too long in the queue of {directory!r}", retry_after_seconds=RETRY_AFTER_S)


def _restricted(text: str, directory: str) -> DomainError:
    return Unsupported(
        "this Triton restricts that call; allow it in --grpc-restricted-protocol", requires="an unrestricted Triton"
    )


def _streams_only(text: str, directory: str) -> DomainError:
    return InvalidRequest(f"{directory!r} answers with a stream; ask for one")


def _bad_entry(text: str, directory: str) -> DomainError:
    return EngineFailed(f"Triton refuses the repository entry {directory!r}; its log says why")


_BY_TEXT: tuple[tuple[str, Builder], ...] = (
    ("is not healthy", _crashed),
    ("exceeds maximum queue size", _busy),
    ("request timeout expired", _queue_late),
    ("has no available versions", _not_ready),
    ("is not at ready state", _not_ready),
    ("failed to poll from model repository", _bad_entry),
    ("decoupled transaction policy", _streams_only),
    ("protocol is restricted", _restricted),
    ("unknown model", _unknown),
    ("failed to process the request(s)", _failed),
)

_BY_CODE: dict[grpc.StatusCode | None, Builder] = {
    grpc.StatusCode.INVALID_ARGUMENT: lambda text, _: InvalidRequest(sanitized(text)),
    grpc.StatusCode.NOT_FOUND: lambda text, _: NotFound(sanitized(text)),
    grpc.StatusCode.ALREADY_EXISTS: lambda text, _: Conflict(sanitized(text)),
    grpc.StatusCode.UNAVAILABLE: _busy,
    grpc.StatusCode.CANCELLED: lambda text, _: Unavailable("Triton dropped the request", retry_after_seconds=1),
    grpc.StatusCode.DEADLINE_EXCEEDED: _late,
    grpc.StatusCode.RESOURCE_EXHAUSTED: lambda text, _: PayloadTooLarge(sanitized(text)),
    grpc.StatusCode.UNIMPLEMENTED: lambda text, _: Unsupported(sanitized(text), requires="a Triton that can do it"),
}
