"""Files on their way from the server: in a draft beside their place until they are whole."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tritonplane_client.errors import ConnectionLost, UnexpectedAnswer
from tritonplane_client.schemas import ProgressCallback

_FILE_NAME = re.compile(r'filename="([^"/\\]+)"')


class Download:
    """Written chunk by chunk; `finish` puts it in its place if its SHA-256 is that of the ETag.

    `to` is a file, which is replaced, or a folder that gets a file of the server's name. Left early, nothing remains.
    """

    def __init__(self, to: Path, headers: Mapping[str, str], progress: ProgressCallback | None) -> None:
        self._place = to / _name(headers) if to.is_dir() else to
        self._draft = self._place.with_name(f".{self._place.name}.{os.getpid()}.part")
        self._expected = headers.get("ETag", "").strip('"')
        self._total_bytes = int(headers.get("Content-Length", 0))
        self._progress, self._digest, self._bytes = progress, hashlib.sha256(), 0
        self._file = self._draft.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self._bytes += len(chunk)
        if self._progress is not None:
            self._progress(self._bytes, self._total_bytes)

    def finish(self) -> Path:
        """Raises ConnectionLost, UnexpectedAnswer where what came is not what was promised."""
        if self._bytes < self._total_bytes:
            raise ConnectionLost(f"the download ended after {self._bytes} of {self._total_bytes} bytes")
        if self._digest.hexdigest() != self._expected:
            raise UnexpectedAnswer("the downloaded file is damaged: its SHA-256 is not the one that the server told")
        self._file.close()
        self._draft.replace(self._place)
        return self._place


def _name(headers: Mapping[str, str]) -> str:
    found = _FILE_NAME.search(headers.get("Content-Disposition", ""))
    if found is None or found[1].startswith("."):
        raise UnexpectedAnswer("the server does not name the file; give the name of a file to download it to")
    return found[1]
