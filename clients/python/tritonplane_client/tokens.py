"""The tokens of a text that is being generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonplane_client.errors import UnexpectedAnswer
from tritonplane_client.frames import FrameReader


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the answer; the texts of all tokens joined are the whole of it. `index` counts from 0."""

    text: str
    index: int
    is_final: bool = False
    finish_reason: str | None = None


class TokenReader(FrameReader[Token]):
    """Raises UnexpectedAnswer for the steps of a model that draws."""

    def _item(self, frame: Mapping[str, Any]) -> Token:
        if "token" not in frame:
            raise UnexpectedAnswer("the stream holds no tokens; for a model that draws images there is stream_drawing")
        return Token(frame["token"], frame["index"], bool(frame.get("is_final")), frame.get("finish_reason"))
