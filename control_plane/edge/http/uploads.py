"""A model that comes with a request: uploaded, streamed to disk, or named by its path below the import root."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO

from fastapi import Depends, Query
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from control_plane.domain.errors import InvalidRequest, Unavailable
from control_plane.domain.imports import ImportOptions, Precision
from control_plane.services.imports import Imports, NewImport, parse_inputs
from control_plane.services.jobs import new_job_id

FIELD = "file"
_WRITTEN_AT_ONCE_BYTES = 2**20
_LABEL_LENGTH_MAX = 200
_ENDINGS = (".onnx", ".zip", ".pt", ".pt2", ".ts", ".safetensors")
UPLOAD_BODY: dict[str, Any] = {
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {FIELD: {"type": "string", "format": "binary"}}}
        }
    }
}


Wanted = Annotated[Precision | None, Query(description="left out, the model's own")]
Inputs = Annotated[
    list[str] | None,
    Query(alias="input", description="what a TorchScript file takes, once for each: NAME:FP32:-1,16"),
]


async def received_import(
    request: Request, imports: Imports, model: str, file_path: str | None, options: ImportOptions
) -> NewImport:
    """What is to be imported; an upload is in its job's workspace, and gone again unless all of it came.

    Raises: InvalidRequest, Unsupported, Unavailable (disk full).
    """
    is_upload = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    if is_upload == (file_path is not None):
        raise InvalidRequest(f"send either the query parameter file_path or a multipart field named {FIELD!r}")
    if file_path is not None:
        return NewImport(model, new_job_id(), file_path, file_path, options)
    boundary = _boundary(request)
    job_id, folder = await imports.place_for_upload(model)
    try:
        with _full_disk_told(), _Incoming(folder, boundary) as incoming:
            await incoming.receive(request)
    except BaseException:
        await asyncio.shield(imports.discard(job_id))
        raise
    return NewImport(model, job_id, f"upload: {incoming.label()}", options=options)


def parsed_options(precision: Wanted = None, inputs: Inputs = None) -> ImportOptions:
    return ImportOptions(precision, parse_inputs(inputs or []))


FilePath = Annotated[str | None, Query(description="below the server's import root")]
Options = Annotated[ImportOptions, Depends(parsed_options)]


class _Incoming:
    """The one file of a multipart body, on its way to disk. What other fields hold is read over."""

    def __init__(self, folder: Path, boundary: bytes) -> None:
        self._folder = folder
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._name: str | None = None
        self._pending = bytearray()
        self._file: BinaryIO | None = None
        self._is_ours = self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._content_begins,
                "on_part_data": self._content,
                "on_end": self._end,
            },
        )

    def __enter__(self) -> _Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    async def receive(self, request: Request) -> None:
        try:
            async for chunk in request.stream():
                self._parser.write(chunk)
                if len(self._pending) >= _WRITTEN_AT_ONCE_BYTES:
                    await self._flush()
            self._parser.finalize()
        except (FormParserError, ClientDisconnect) as error:
            raise InvalidRequest("the multipart body is broken", reason="multipart") from error
        if not self._is_whole:  # the parser does not mind
            raise InvalidRequest("the multipart body ends too early", reason="multipart")
        if self._name is None:
            raise InvalidRequest(f"the multipart body has no file in a field named {FIELD!r}", field=FIELD)
        await self._flush()

    def path(self) -> Path:
        """On disk it has a name of ours; of the client's name only the ending counts."""
        return self._folder / f"model{_ending(self._name or '')}"

    def label(self) -> str:
        name = PurePosixPath((self._name or "").replace("\\", "/")).name
        return "".join(letter for letter in name if letter.isprintable())[:_LABEL_LENGTH_MAX] or "a file"

    async def _flush(self) -> None:
        if self._pending and self._file is not None:
            written, self._pending = self._pending, bytearray()
            await asyncio.to_thread(self._file.write, written)

    def _part_begins(self) -> None:
        self._header.clear()
        self._value.clear()
        self._disposition, self._is_ours = b"", False

    def _header_ends(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _content_begins(self) -> None:
        _, options = parse_options_header(self._disposition)
        filename = options.get(b"filename")
        if options.get(b"name") != FIELD.encode() or filename is None:
            return
        if self._name is not None:
            raise InvalidRequest("send one file at a time", field=FIELD)
        self._name, self._is_ours = filename.decode(errors="replace"), True
        self._file = self.path().open("wb")

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._is_ours:
            self._pending += data[start:end]

    def _end(self) -> None:
        self._is_whole = True


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Unavailable("the disk that holds uploads is full", retry_after_seconds=60) from error


def _ending(name: str) -> str:
    return next((ending for ending in _ENDINGS if name.lower().endswith(ending)), ".unknown")


def _boundary(request: Request) -> bytes:
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidRequest("the multipart body has no boundary", reason="multipart")
    return boundary
