"""JSON bodies of lean routes: malformed and ill-shaped ones are refused in the same words as everywhere."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from control_plane.domain.errors import InvalidRequest
from control_plane.edge.http.handlers import wrong_shape

T = TypeVar("T")
# msgspec ends a message with where: " - at `$.inputs[0].shape`".
_PLACE = re.compile(r"(?s)(.*) - at `\$(.*)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Raises InvalidRequest with `reason` json or schema."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}", reason="json") from None


def _wrong_shape(message: str) -> InvalidRequest:
    found = _PLACE.fullmatch(message)
    if found is None:
        return wrong_shape([(("body",), message)])
    steps = [name or index for name, index in _STEP.findall(found[2])]
    return wrong_shape([(("body", *(int(step) if step.isdigit() else step for step in steps)), found[1])])
