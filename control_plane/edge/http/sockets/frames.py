"""JSON frames: what a client sent, and how an error is told to it (C-ERR-04)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from control_plane.domain.errors import DomainError, InvalidRequest
from control_plane.edge.refusals import retry_after_s
from control_plane.edge.times import rfc3339_now

T = TypeVar("T")
# Seed 003's names of what HTTP calls INVALID_REQUEST, by the details' `reason`; any other one is VALIDATION_ERROR.
_INVALID = {"json": "INVALID_JSON", "message_type": "INVALID_MESSAGE_TYPE"}
# How msgspec says that no struct has this tag.
_UNKNOWN_TYPE = re.compile(r"Invalid value (.*) - at `\$\.type`", re.DOTALL)
_encoder = msgspec.json.Encoder(enc_hook=str)


def decode_frame(decoder: msgspec.json.Decoder[T], text: str | None) -> T:
    """`decoder` is of structs whose tag is `type`. Raises InvalidRequest; a binary frame (None) is no JSON."""
    if text is None:
        raise InvalidRequest("send JSON in text frames; this one was binary", reason="json")
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors, as is what UTF-8 cannot say
        raise InvalidRequest(f"the message is not JSON: {error}", reason="json") from None


def encode_frame(kind: str, fields: Mapping[str, Any]) -> str:
    """Every frame has a `type` and a `timestamp`."""
    return _encoder.encode({"type": kind, **fields, "timestamp": rfc3339_now()}).decode()


def error_fields(error: DomainError, request_id: str) -> dict[str, Any]:
    """One frame for three APIs: code and message inside `data` (003), and beside it (000, 004)."""
    code = error.code
    if code == InvalidRequest.code:
        code = _INVALID.get(str(error.details.get("reason")), "VALIDATION_ERROR")
    data: dict[str, Any] = {"code": code, "message": error.message}
    data["details"] = {**error.details, "request_id": request_id}
    after_s = retry_after_s(error)
    if after_s is not None:
        data["retry_after"] = after_s
    return {"code": code, "message": error.message, "data": data}


def _wrong_shape(message: str) -> InvalidRequest:
    unknown = _UNKNOWN_TYPE.fullmatch(message)
    if unknown is not None:
        return InvalidRequest(f"there is no message of type {unknown[1][:100]}", reason="message_type")
    return InvalidRequest(f"the message is not of its type's form: {message}", reason="schema")
