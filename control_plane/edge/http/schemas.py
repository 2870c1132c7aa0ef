"""Pydantic words that several dialects share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, PlainSerializer, WithJsonSchema

from control_plane.edge.times import rfc3339

Timestamp = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


REFUSALS = {
    400: "The request is wrong",
    401: "No valid credential",
    403: "The role is too low",
    404: "There is no such thing",
    409: "The present state forbids it",
    413: "The body is too large",
    429: "Too many requests; Retry-After says when to ask again",
    500: "The server or the model failed",
    501: "This server lacks what it needs",
    503: "Not now: Triton is down, the queue is full, or the server is stopping",
    504: "It took too long",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route answers beyond what every route of its kind does, for FastAPI's `responses`."""
    return {status: {"description": REFUSALS[status]} for status in statuses}


class ErrorResponse(BaseModel):
    """Envelope T; `details` always holds `request_id` and `timestamp`."""

    error: str
    code: str
    details: dict[str, Any]


class ErrorObject(BaseModel):
    code: str
    message: str
    details: dict[str, Any]
    timestamp: str
    request_id: str


class ErrorEnvelope(BaseModel):
    """Envelope O."""

    error: ErrorObject
