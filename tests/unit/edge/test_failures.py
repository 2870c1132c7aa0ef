"""Every error has a status, and is worded as the API that owns the path words its errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import perf_counter

import pytest

from control_plane.domain import errors
from control_plane.domain.errors import DomainError, InvalidRequest, MethodNotAllowed, NotAuthenticated, RateLimited
from control_plane.edge.http.envelopes import owner_of
from control_plane.edge.http.failures import STATUSES, failure
from control_plane.edge.refusals import unexpected


def kinds(kind: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from kinds(narrower)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_c_err_01_every_kind_of_error_has_a_status(kind: type[DomainError]) -> None:
    assert 400 <= STATUSES[kind.code] <= 504


def test_c_err_01_every_code_of_the_domain_stands_in_the_table_and_no_other() -> None:
    assert {kind.code for kind in kinds()} == set(STATUSES)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_REQUEST", 400),
        ("UNSUPPORTED_FORMAT", 400),
        ("UNAUTHORIZED", 401),
        ("FORBIDDEN", 403),
        ("NOT_FOUND", 404),
        ("MODEL_NOT_FOUND", 404),
        ("METHOD_NOT_ALLOWED", 405),
        ("MODEL_NOT_READY", 409),
        ("CONFLICT", 409),
        ("PAYLOAD_TOO_LARGE", 413),
        ("NOT_SUPPORTED_HERE", 501),
        ("RATE_LIMIT_EXCEEDED", 429),
        ("PROCESSING_FAILED", 500),
        ("INTERNAL_ERROR", 500),
        ("PIPELINE_UNAVAILABLE", 503),
        ("TIMEOUT", 504),
    ],
)
def test_c_err_01_the_rows_are_the_contracts(code: str, status: int) -> None:
    assert STATUSES[code] == status


def test_c_err_01_what_is_not_supported_here_always_says_what_is_lacking() -> None:
    with pytest.raises(TypeError, match="requires"):
        errors.Unsupported("no")  # type: ignore[call-arg]
    assert errors.Unsupported("no", requires="a GPU").details == {"requires": ["a GPU"]}


@pytest.mark.parametrize(
    ("path", "dialect", "keys"),
    [
        ("/models/x", "truthgpt", {"error", "code", "details"}),
        ("/v1/models", "truthgpt", {"error", "code", "details"}),
        ("/nowhere", "truthgpt", {"error", "code", "details"}),
        ("/v1/aid", "truthgpt", {"error", "code", "details"}),
        ("/ws/inference/x", "truthgpt", {"error", "code", "details"}),
        ("/v1/ai/models", "ai_services", {"error"}),
        ("/v1/ai", "ai_services", {"error"}),
        ("/api/test/run", "guide", {"error"}),
        ("/api/sessions", "llmgine", {"error"}),
        ("/health/ready", "llmgine", {"error"}),
        ("/health", "truthgpt", {"error", "code", "details"}),
        ("/api/v1/infer", "orchestrator", {"error"}),
        ("/openai/v1/models", "openai", {"error"}),
        ("/v2/models/x/infer", "kserve", {"error"}),
        ("/auth/keys", "native", {"error"}),
        ("/native/v1/models", "native", {"error"}),
        ("/graphql", "graphql", {"data", "errors"}),
        ("/metrics", "operations", {"error"}),
    ],
)
def test_c_path_01_an_error_is_worded_by_the_owner_of_the_longest_prefix(
    path: str, dialect: str, keys: set[str]
) -> None:
    body = json.loads(failure(errors.NotFound("gone"), path, "r-1").body)
    assert owner_of(path).dialect == dialect
    assert set(body) == keys


def test_the_owner_of_a_path_of_very_many_segments_is_found_at_once() -> None:
    path = "/v2" + "/a" * 500_000
    started_s = perf_counter()

    assert owner_of(path).dialect == "kserve"

    assert perf_counter() - started_s < 1  # segment by segment from its end it takes a minute


def test_c_err_02_envelope_t_is_the_seeds_error_response() -> None:
    body = json.loads(failure(errors.ModelNotFound("no x", available_models=["y"]), "/models/x", "r-1").body)
    timestamp = body["details"].pop("timestamp")
    assert body == {
        "error": "no x",
        "code": "MODEL_NOT_FOUND",
        "details": {"available_models": ["y"], "request_id": "r-1"},
    }
    assert timestamp.endswith("Z")


def test_c_err_02_a_429_of_envelope_t_has_what_the_seeds_limiter_says() -> None:
    body = json.loads(failure(RateLimited("Rate limit exceeded", retry_after_seconds=1.2), "/models", "r-1").body)
    assert (body["error"], body["code"]) == ("Rate limit exceeded", "RATE_LIMIT_EXCEEDED")
    assert (body["message"], body["retry_after"]) == ("Too many requests. Please try again later.", 2)
    assert body["details"]["retry_after_seconds"] == 1.2


def test_c_err_03_envelope_o_is_an_object() -> None:
    body = json.loads(failure(errors.ModelNotFound("no x", available_models=["y"]), "/auth/keys", "r-1").body)
    timestamp = body["error"].pop("timestamp")
    assert body == {
        "error": {
            "code": "MODEL_NOT_FOUND",
            "message": "no x",
            "details": {"available_models": ["y"]},
            "request_id": "r-1",
        }
    }
    assert timestamp.endswith("Z")


def test_kserve_says_an_error_as_one_text() -> None:
    assert json.loads(failure(errors.ModelNotFound("no x"), "/v2/models/x/infer", "r-1").body) == {"error": "no x"}


def test_openai_says_an_error_with_its_type_and_parameter() -> None:
    body = json.loads(failure(InvalidRequest("too hot", field="temperature"), "/openai/v1/x", "r-1").body)
    assert body == {
        "error": {
            "message": "too hot",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "invalid_request",
        }
    }


def test_graphql_says_an_error_in_its_list() -> None:
    body = json.loads(failure(NotAuthenticated("who?"), "/graphql", "r-1").body)
    assert body["data"] is None
    assert body["errors"] == [
        {"message": "who?", "extensions": {"code": "UNAUTHORIZED", "details": {}, "request_id": "r-1"}}
    ]


def test_headers_say_how_to_go_on() -> None:
    assert failure(NotAuthenticated("who?"), "/x", "r").headers == [(b"www-authenticate", b"Bearer")]
    assert failure(RateLimited("slow", retry_after_seconds=1.2), "/x", "r").headers == [(b"retry-after", b"2")]
    assert failure(MethodNotAllowed("no", allowed=["GET", "POST"]), "/x", "r").headers == [(b"allow", b"GET, POST")]


def test_c_err_08_a_bug_is_told_without_its_trace_unless_the_operator_asked_for_it() -> None:
    bug = ValueError("/secret/place")
    assert "secret" not in unexpected(bug, debug=False).message
    assert unexpected(bug, debug=False).details == {}
    assert "/secret/place" in str(unexpected(bug, debug=True).details)


def test_a_message_that_utf_8_cannot_say_is_answered_all_the_same() -> None:
    assert json.loads(failure(InvalidRequest("\ud800"), "/x", "r").body)["error"] == "\ud800"
