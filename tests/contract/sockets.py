"""A client of our WebSockets: JSON out, JSON in, and what a handshake was refused with."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

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
