"""What a client of the GraphQL API does, over HTTP and over a bare WebSocket in either subprotocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

from tests.contract.served import Served

Json = dict[str, Any]
# The words of each subprotocol: how an operation is started and stopped, and what its answers are.
WORDS = {
    "graphql-transport-ws": {"start": "subscribe", "stop": "complete", "result": "next"},
    "graphql-ws": {"start": "start", "stop": "stop", "result": "data"},
}
both = pytest.mark.parametrize("protocol", list(WORDS))
RUN = "mutation($model: String!, $text: String!) { runInference(modelId: $model, inputData: $text) { output } }"
STREAM = (
    "subscription($text: String!, $max: Int! = 100) "
    '{ inferenceStream(modelId: "coder", inputData: $text, maxLength: $max) }'
)


async def asked(http: Served, query: str, headers: dict[str, str] | None = None, **variables: Any) -> Json:
    """The whole answer, which is a 200 whatever it says."""
    headers = http.admin if headers is None else headers
    reply = await http.client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
    assert reply.status_code == 200, reply.text
    told: Json = reply.json()
    return told


async def data(http: Served, query: str, headers: dict[str, str] | None = None, **variables: Any) -> Json:
    told = await asked(http, query, headers, **variables)
    assert "errors" not in told, told
    found: Json = told["data"]
    return found


async def error(http: Served, query: str, headers: dict[str, str] | None = None, **variables: Any) -> Json:
    """The first error, which has all that every error has."""
    told = await asked(http, query, headers, **variables)
    first: Json = told["errors"][0]
    assert set(first["extensions"]) == {"code", "details", "request_id"}
    assert first["extensions"]["request_id"].startswith("req_")
    return first


@dataclass
class Socket:
    """A connection and its subprotocol's words."""

    connection: ClientConnection
    protocol: str

    async def say(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def hear(self) -> Json:
        message: Json = json.loads(await self.connection.recv())
        return message

    async def begin(self, **payload: Any) -> Json:
        await self.say(type="connection_init", payload=payload)
        return await self.hear()

    async def start(self, query: str, name: str = "1", **variables: Any) -> None:
        payload = {"query": query, "variables": variables}
        await self.say(type=WORDS[self.protocol]["start"], id=name, payload=payload)

    async def stop(self, name: str = "1") -> None:
        await self.say(type=WORDS[self.protocol]["stop"], id=name)

    async def results(self) -> list[Any]:
        """Of the only operation, until it is complete."""
        found = []
        while (message := await self.hear())["type"] != "complete":
            assert message["type"] == WORDS[self.protocol]["result"], message
            found.append(message["payload"])
        return found

    async def error(self) -> Json:
        """The error that ends the operation, which is a list of them in one protocol and one in the other."""
        message = await self.hear()
        assert message["type"] == "error", message
        first: Json = message["payload"] if self.protocol == "graphql-ws" else message["payload"][0]
        return first

    async def closed(self) -> tuple[int | None, str | None]:
        """How the server closed it; what it still said before does not matter."""
        with suppress(ConnectionClosedError):
            async for _ in self.connection:
                pass
        return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def opened(
    http: Served, protocol: str, headers: dict[str, str] | None = None, path: str = "/graphql"
) -> AsyncIterator[Socket]:
    url = http.url.replace("http", "ws") + path
    async with connect(url, subprotocols=[Subprotocol(protocol)], additional_headers=headers) as connection:
        assert connection.subprotocol == protocol
        yield Socket(connection, protocol)


@asynccontextmanager
async def begun(http: Served, protocol: str) -> AsyncIterator[Socket]:
    """As an admin, who said so in the handshake."""
    async with opened(http, protocol, http.admin) as socket:
        assert await socket.begin() == {"type": "connection_ack"}
        yield socket


async def stalled(http: Served, socket: Socket, name: str = "1") -> None:
    """Begin a stream, and wait until it stands still after the first of its two tokens."""
    http.world.triton.hold_at = 1
    await socket.start(STREAM, name, text="a b")
    await http.world.triton.holding.wait()


def code(told: Json) -> str:
    """Of an error over a WebSocket."""
    assert told["extensions"]["request_id"].startswith("req_")
    found: str = told["extensions"]["code"]
    return found
