"""The tokens of a stream, read from the server's `data:` lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tritonplane_client.errors import StreamInterrupted, UnexpectedAnswer, read_stream_error

END = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of the answer; the texts of all tokens joined are the whole of it. `index` counts from 0."""

    text: str
    index: int
    is_final: bool = False
    finish_reason: str | None = None


class TokenReader:
    """Turns the bytes of a stream into tokens, however the network cut them."""

    def __init__(self) -> None:
        self._rest = b""
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[Token]:
        """The tokens whose lines are complete by now. Raises ApiError for an error frame."""
        # Lines end with "\n" only: splitting as text would also cut at U+2028 or U+0085 inside a token.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            payload = line.removesuffix(b"\r")
            if self.is_done or not payload.startswith(b"data:"):
                continue
            token = self._read(payload.removeprefix(b"data:").strip())
            if token is not None:
                yield token

    def end(self) -> None:
        """The bytes have ended. Raises StreamInterrupted if the answer had not."""
        if not self.is_done:
            raise StreamInterrupted("the stream ended before its last token: the server went away or was stopped")

    def _read(self, payload: bytes) -> Token | None:
        if payload == END:
            self.is_done = True
            return None
        try:
            frame = json.loads(payload)
        except ValueError as error:
            raise UnexpectedAnswer(f"the stream holds a line that is not JSON: {payload[:80]!r}") from error
        if "error" in frame:
            raise read_stream_error(frame)
        return Token(frame["token"], frame["index"], bool(frame.get("is_final")), frame.get("finish_reason"))
