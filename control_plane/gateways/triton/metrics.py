"""Triton's own Prometheus text, to be shown beside ours."""

from __future__ import annotations

import asyncio

from control_plane.gateways.triton.server_process import LOOPBACK

TIMEOUT_S = 1.0
_QUESTION = b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n"


async def fetch_metrics(port: int, timeout_s: float = TIMEOUT_S) -> str | None:
    """None when Triton cannot be asked just now: a scrape must not fail with it."""
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _ask(port)
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode(errors="replace") if b" 200 " in head.split(b"\r\n")[0] else None


async def _ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(_QUESTION)
        return await reader.read(-1)  # HTTP/1.0: the end of the connection is the end of the answer
    finally:
        writer.close()
