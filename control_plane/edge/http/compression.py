"""gzip for JSON bodies that are worth it (C-GZIP-01); a stream is never compressed."""

from __future__ import annotations

import asyncio
import gzip

WORTH_BYTES = 1024
LEVEL = 1  # halves JSON already; a higher level costs several times the CPU for little
_THREAD_BYTES = 128 * 1024  # above this the event loop would stand still for milliseconds


def wants_gzip(accept_encoding: bytes, media_type: bytes, size_bytes: int) -> bool:
    return size_bytes > WORTH_BYTES and media_type.startswith(b"application/json") and _accepts(accept_encoding)


async def compressed(body: bytes) -> bytes:
    if len(body) > _THREAD_BYTES:
        return await asyncio.to_thread(gzip.compress, body, LEVEL)
    return gzip.compress(body, LEVEL)


def _accepts(accept_encoding: bytes) -> bool:
    for offered in accept_encoding.lower().split(b","):
        coding, _, quality = offered.partition(b";")
        if coding.strip() in (b"gzip", b"*") and quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00"):
            return True
    return False
