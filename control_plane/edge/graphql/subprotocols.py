"""The two languages of GraphQL over a WebSocket: one conversation, in two sets of words.

Source: graphql-ws, PROTOCOL.md (`graphql-transport-ws`); subscriptions-transport-ws, PROTOCOL.md (`graphql-ws`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.domain.errors import DomainError, InvalidRequest
from control_plane.edge.graphql.asking import Asked, asked_in, decoded
from control_plane.edge.graphql.failures import Json

ID_LENGTH_MAX = 1000  # it is in every answer
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Init:
    """The first message; its payload may hold a credential (C-AUTH-10)."""

    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """Run an operation under an id of the client's. `asked` is the refusal where its payload is no request."""

    id: str
    asked: Asked | InvalidRequest


@dataclass(frozen=True, slots=True)
class Stop:
    id: str


@dataclass(frozen=True, slots=True)
class Ping:
    payload: object


@dataclass(frozen=True, slots=True)
class Pong:
    pass


@dataclass(frozen=True, slots=True)
class Terminate:
    pass


Command = Init | Start | Stop | Ping | Pong | Terminate


class BadMessage(Exception):
    """What the protocol has no such message for; its text is the reason for closing."""


@dataclass(frozen=True, slots=True)
class Subprotocol:
    """`commands` by the word in `type`; `result` is the word for each answer. The older protocol tells one error, not a
    list, and says why it does not begin; the newer one says that in closing."""

    name: str
    commands: Mapping[str, Callable[[Message], Command]]
    result: str
    is_older: bool = False

    def read(self, text: str | None) -> Command:
        """Raises BadMessage. None: a frame that is no text."""
        try:
            message = decoded("a message", text or "")
        except InvalidRequest:
            message = None
        if not isinstance(message, dict):
            raise BadMessage("a message must be a JSON object in a text frame")
        word = message.get("type")
        if not isinstance(word, str) or word not in self.commands:
            raise BadMessage(f"a message's type must be one of {', '.join(self.commands)}")
        return self.commands[word](message)

    def answer(self, id: str, result: Json) -> Json:
        return {"type": self.result, "id": id, "payload": result}

    def refusal(self, id: str, errors: list[Json]) -> Json:
        """The operation ends with it."""
        return {"type": "error", "id": id, "payload": errors[0] if self.is_older else errors}

    def beginning_refused(self, error: DomainError) -> Json | None:
        if not self.is_older:
            return None
        return {"type": "connection_error", "payload": {"message": error.message, "code": error.code}}

    def end(self, id: str) -> Json:
        return {"type": "complete", "id": id}


def _init(message: Message) -> Init:
    payload = message.get("payload")
    if not isinstance(payload, dict | None):
        raise BadMessage("the payload of connection_init must be an object")
    return Init(payload or {})


def _start(message: Message) -> Start:
    try:
        asked: Asked | InvalidRequest = asked_in(message.get("payload"))
    except InvalidRequest as error:
        asked = error
    return Start(_id(message), asked)


def _stop(message: Message) -> Stop:
    return Stop(_id(message))


def _id(message: Message) -> str:
    found = message.get("id")
    if not isinstance(found, str) or not 1 <= len(found) <= ID_LENGTH_MAX:
        raise BadMessage(f"an operation's id must be a text of 1 to {ID_LENGTH_MAX} characters")
    return found


TRANSPORT = Subprotocol(
    "graphql-transport-ws",
    {
        "connection_init": _init,
        "subscribe": _start,
        "complete": _stop,
        "ping": lambda message: Ping(message.get("payload")),
        "pong": lambda message: Pong(),
    },
    result="next",
)
LEGACY = Subprotocol(
    "graphql-ws",
    {
        "connection_init": _init,
        "start": _start,
        "stop": _stop,
        "connection_terminate": lambda message: Terminate(),
    },
    result="data",
    is_older=True,
)
SUBPROTOCOLS: Mapping[str, Subprotocol] = {one.name: one for one in (TRANSPORT, LEGACY)}
