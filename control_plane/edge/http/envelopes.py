"""Which API owns a path, and how that API words an error: the table of contract 1.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from control_plane.domain.errors import DomainError
from control_plane.edge.refusals import retry_after_s

JsonObject = dict[str, object]
_SLOW_DOWN = "Too many requests. Please try again later."
# From an error, the request's id and the time, the JSON body.
Envelope = Callable[[DomainError, str, str], JsonObject]
_OPENAI_TYPES = {
    "UNAUTHORIZED": "authentication_error",
    "FORBIDDEN": "permission_error",
    "RATE_LIMIT_EXCEEDED": "rate_limit_error",
}
_OPENAI_SERVER_CODES = frozenset({"INTERNAL_ERROR", "PROCESSING_FAILED", "PIPELINE_UNAVAILABLE", "TIMEOUT"})


def error_text(error: DomainError, request_id: str, at: str) -> JsonObject:
    """Envelope T: TruthGPT's ErrorResponse, and for a 429 also the words of its limiter."""
    details = {**error.details, "request_id": request_id, "timestamp": at}
    body: JsonObject = {"error": error.message, "code": error.code, "details": details}
    if error.code == "RATE_LIMIT_EXCEEDED":
        body |= {"message": _SLOW_DOWN, "retry_after": retry_after_s(error)}
    return body


def error_object(error: DomainError, request_id: str, at: str) -> JsonObject:
    """Envelope O: AI Services, the guide, LLMgine, the orchestrator, and our own routes."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "details": error.details,
            "timestamp": at,
            "request_id": request_id,
        }
    }


def error_open_inference(error: DomainError, request_id: str, at: str) -> JsonObject:
    """KServe v2: one text, and nothing else that a client may rely on."""
    return {"error": error.message}


def error_openai(error: DomainError, request_id: str, at: str) -> JsonObject:
    kind = "server_error" if error.code in _OPENAI_SERVER_CODES else "invalid_request_error"
    return {
        "error": {
            "message": error.message,
            "type": _OPENAI_TYPES.get(error.code, kind),
            "param": error.details.get("field"),
            "code": error.code.lower(),
        }
    }


def error_graphql(error: DomainError, request_id: str, at: str) -> JsonObject:
    extensions = {"code": error.code, "details": error.details, "request_id": request_id}
    return {"data": None, "errors": [{"message": error.message, "extensions": extensions}]}


@dataclass(frozen=True, slots=True)
class Owner:
    """The API that owns a path prefix."""

    dialect: str
    envelope: Envelope


_OPERATIONS = Owner("operations", error_object)
_TRUTHGPT = Owner("truthgpt", error_text)
_LLMGINE = Owner("llmgine", error_object)
_GUIDE = Owner("guide", error_object)
_NATIVE = Owner("native", error_object)
# An API has its row before it has its routes: what is unknown below its prefix is answered in its own words.
OWNERS: dict[str, Owner] = {
    "": _TRUTHGPT,
    "/graphql": Owner("graphql", error_graphql),
    "/v1/ai": Owner("ai_services", error_object),
    "/api/test": _GUIDE,
    "/api/generator": _GUIDE,
    "/api/benchmark": _GUIDE,
    "/api/sessions": _LLMGINE,
    "/health/ready": _LLMGINE,
    "/health/live": _LLMGINE,
    "/api/v1": Owner("orchestrator", error_object),
    "/openai/v1": Owner("openai", error_openai),
    "/v2": Owner("kserve", error_open_inference),
    "/auth": _NATIVE,
    "/admin": _NATIVE,
    "/native/v1": _NATIVE,
    "/metrics": _OPERATIONS,
    "/ui": _OPERATIONS,
    "/docs": _OPERATIONS,
    "/redoc": _OPERATIONS,
    "/openapi.json": _OPERATIONS,
}


_DEEPEST = max(prefix.count("/") for prefix in OWNERS)


def owner_of(path: str) -> Owner:
    """The owner with the longest prefix; a prefix ends where a segment ends."""
    # A path may have tens of thousands of segments, and only the first can matter.
    prefix = "/".join(path.split("/", _DEEPEST + 1)[: _DEEPEST + 1])
    while prefix not in OWNERS:
        prefix = prefix.rpartition("/")[0]
    return OWNERS[prefix]
