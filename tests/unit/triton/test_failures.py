"""Every error text and code of Triton that was seen becomes one domain error, free of paths and tracebacks."""

from __future__ import annotations

import grpc
import pytest

from control_plane.domain.errors import (
    Conflict,
    DomainError,
    EngineCrashed,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    PayloadTooLarge,
    TimedOut,
    Unavailable,
    Unsupported,
)
from control_plane.gateways.triton.failures import failure, sanitized

C = grpc.StatusCode
TABLE = [
    (C.NOT_FOUND, "Request for unknown model: 'm' is not found", ModelNotFound),
    (C.UNAVAILABLE, "Request for unknown model: 'm' is not found", ModelNotFound),
    (C.NOT_FOUND, "Request for unknown model: 'm' has no available versions", ModelNotReady),
    (C.NOT_FOUND, "Request for unknown model: 'm' version 7 is not found", ModelNotFound),
    (C.UNAVAILABLE, "Request for unknown model: 'm' version 6 is not at ready state", ModelNotReady),
    (C.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size", Unavailable),
    (C.UNAVAILABLE, "Request timeout expired", TimedOut),
    (C.UNAVAILABLE, "This protocol is restricted, expecting header triton-grpc-protocol-admin-key", Unsupported),
    (C.UNAVAILABLE, "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: x", Unavailable),
    (C.UNAVAILABLE, "Socket closed", Unavailable),
    (C.UNAVAILABLE, "the model's own queue is full", Unavailable),
    (C.INVALID_ARGUMENT, "unexpected shape for input 'X' for model 'm'. Expected [1], got [2]", InvalidRequest),
    (C.INTERNAL, "Stub process 'm_0_0' is not healthy.", EngineCrashed),
    (C.INTERNAL, "Failed to process the request(s) for model 'm_0_0', message: ValueError: x", EngineFailed),
    (C.INTERNAL, "failed to load 'm', failed to poll from model repository", EngineFailed),
    (C.UNIMPLEMENTED, "ModelInfer RPC doesn't support models with decoupled transaction policy", InvalidRequest),
    (C.UNIMPLEMENTED, "no such thing", Unsupported),
    (C.DEADLINE_EXCEEDED, "Deadline Exceeded", TimedOut),
    (C.RESOURCE_EXHAUSTED, "Received message larger than max", PayloadTooLarge),
    (C.ALREADY_EXISTS, "there is one", Conflict),
    (C.CANCELLED, "cancelled", Unavailable),
    (C.UNKNOWN, "who knows", EngineFailed),
    (None, "[request id: <id_unknown>] unexpected shape for input 'X' for model 'm'. Expected [1]", InvalidRequest),
    (None, "expected 1 inputs but got 2 inputs for model 'm'", InvalidRequest),
    (None, "Request for unknown model: 'm' is not found", ModelNotFound),
    (None, "something inside broke", EngineFailed),
]


@pytest.mark.parametrize(("code", "text", "expected"), TABLE, ids=[text[:60] for _, text, _ in TABLE])
def test_a_failure_of_triton_is_one_domain_error(
    code: grpc.StatusCode | None, text: str, expected: type[DomainError]
) -> None:
    error = failure(text, code, "m")
    assert type(error) is expected
    assert "ipv4" not in error.message


@pytest.mark.parametrize("text", ["Exceeds maximum queue size", "Socket closed", "the model's own queue is full"])
def test_a_refusal_that_may_pass_says_when_to_come_back(text: str) -> None:
    assert failure(text, C.UNAVAILABLE, "m").details["retry_after_seconds"] == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Internal: ImportError: no module named x\n\nAt:\n  /home/me/model.py(3): <module>\n",
            "Internal: ImportError: no module named x",
        ),
        (
            'failed: Traceback (most recent call last):\n  File "/a/b.py", line 1\nValueError: bad\n',
            "failed ValueError: bad",
        ),
        ("[request id: abc] cannot open /var/lib/models/m/1/model.onnx", "cannot open model.onnx"),
        ("see http://127.0.0.1/path and text/plain, 1/2", "see http://127.0.0.1/path and text/plain, 1/2"),
        ("", "Triton gave no reason"),
    ],
)
def test_a_reason_loses_its_traceback_and_paths_and_nothing_else(text: str, expected: str) -> None:
    assert sanitized(text) == expected


def test_a_reason_is_cut_at_a_readable_length() -> None:
    assert len(sanitized("x" * 10_000)) == 500
