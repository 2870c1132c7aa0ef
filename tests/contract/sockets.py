"""A client of our WebSockets: JSON out, JSON in, and what a handshake was refused with."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.contract.served import Served

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass
class Socket:
    connection: ClientConnection

    async def say(self, kind: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def hear(self) -> dict[str, Any]:
        """The next frame; every one has a type and a time."""
        frame: dict[str, Any] = json.loads(await self.connection.recv())
        assert TIME.fullmatch(frame["timestamp"]), frame
        assert isinstance(frame["type"], str)
        return frame

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        await self.say(kind, **fields)
        return await self.hear()

    async def hear_until(self, kind: str) -> list[dict[str, Any]]:
        frames = [await self.hear()]
        while frames[-1]["type"] != kind:
            frames.append(await self.hear())
        return frames

    async def hear_error(self) -> str:
        """Its code, which stands in both places."""
        frame = await self.hear()
        assert frame["type"] == "error", frame
        assert frame["data"]["code"] == frame["code"]
        assert frame["data"]["message"] == frame["message"]
        assert isinstance(frame["code"], str)
        return frame["code"]

    async def hear_close(self) -> int:
        """Its code. What is said before it is thrown away."""
        try:
            while True:
                await self.connection.recv()
        except ConnectionClosed:
            code = self.connection.close_code
            assert code is not None
            return code


def address(http: Served, path: str) -> str:
    return http.url.replace("http", "ws", 1) + path


@asynccontextmanager
async def open_socket(
    http: Served, path: str = "/ws", headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Socket]:
    """A user's, unless `headers` say otherwise."""
    headers = http.user if headers is None else headers
    async with connect(address(http, path), additional_headers=headers, proxy=None, **options) as connection:
        yield Socket(connection)


async def refusal(http: Served, path: str = "/ws", headers: dict[str, str] | None = None, **options: Any) -> Any:
    """The answer to a handshake that is not let in: a status, headers and a body."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address(http, path), additional_headers=headers, proxy=None, **options):
            pass
    return refused.value.response


def masked(message: str) -> bytes:
    """A text frame of a client."""
    text = message.encode()
    return bytes([0x81, 0x80 | 127]) + len(text).to_bytes(8, "big") + bytes(4) + text


async def stuck(http: Served, path: str, message: str, *more_lines: str) -> socket.socket:
    """A client that opens a socket, says one thing, and never reads what comes."""
    kept: list[socket.socket] = []

    def slow_socket() -> socket.socket:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", httpx.URL(http.url).port))
        kept.append(raw)
        return raw

    raw = await asyncio.to_thread(slow_socket)
    lines = [f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    lines += [f"{name}: {value}" for name, value in http.user.items()]
    raw.sendall("\r\n".join([*lines, *more_lines, "", ""]).encode())
    await asyncio.to_thread(raw.recv, 12)
    raw.sendall(masked(message))
    return raw
