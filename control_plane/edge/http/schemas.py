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
