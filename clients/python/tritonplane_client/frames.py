"""The items of a stream, read from the server's `data:` lines."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from tritonplane_client.errors import StreamInterrupted, UnexpectedAnswer, read_stream_error

END = b"[DONE]"
T = TypeVar("T")


class FrameReader(ABC, Generic[T]):
    """Turns the bytes of a stream into items, however the network cut them."""

    def __init__(self) -> None:
        self._rest = b""
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[T]:
        """The items whose lines are complete by now. Raises ApiError for an error frame."""
        # Lines end with "\n" only: splitting as text would also cut at U+2028 or U+0085 inside a token.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            payload = line.removesuffix(b"\r")
            if self.is_done or not payload.startswith(b"data:"):
                continue
            payload = payload.removeprefix(b"data:").strip()
            if payload == END:
                self.is_done = True
            else:
                yield self._read(payload)

    def end(self) -> None:
        """The bytes have ended. Raises StreamInterrupted if the answer had not."""
        if not self.is_done:
            raise StreamInterrupted("the stream ended before its last token: the server went away or was stopped")

    def _read(self, payload: bytes) -> T:
        try:
            frame = json.loads(payload)
        except ValueError as error:
            raise UnexpectedAnswer(f"the stream holds a line that is not JSON: {payload[:80]!r}") from error
        if "error" in frame:
            raise read_stream_error(frame)
        return self._item(frame)

    @abstractmethod
    def _item(self, frame: Mapping[str, Any]) -> T:
        """What one line says."""
