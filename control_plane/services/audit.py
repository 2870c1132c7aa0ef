"""Who changed what, and how it went: a line for every management verb, by whichever API it came (C-AUDIT-01)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.access import Principal
from control_plane.domain.errors import DomainError
from control_plane.ports import Clock, LineLog

OK, REFUSED = "OK", "request.refused"
OBJECT_LENGTH_MAX = 300  # a path or a wrong name may have tens of thousands of characters
Facts = Mapping[str, str]


@dataclass(slots=True)
class Actor:
    """Who is at work in this task, by which door, asking for what. `is_recorded`: a line tells of it already."""

    principal: Principal | None
    request_id: str
    door: str
    asked: str
    is_recorded: bool = False


_ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)


def act(actor: Actor) -> Actor:
    """From now on, in this task and those it starts, the audit says that `actor` did it."""
    _ACTOR.set(actor)
    return actor


def acting() -> Actor | None:
    """Who is at work in this task."""
    return _ACTOR.get()


class Audit:
    """Lines never hold bodies, tokens, keys or prompts."""

    def __init__(self, lines: LineLog, clock: Clock) -> None:
        self._lines, self._clock = lines, clock

    @property
    def file(self) -> Path:
        """Where the lines are; there is none before the first."""
        return self._lines.path

    def refuse(self, actor: Actor, code: str) -> None:
        """Who may not do it asked for something, and a line does not tell of it yet."""
        if not actor.is_recorded:
            self._write(actor, actor.principal, {"verb": REFUSED, "object": actor.asked, "result": code})

    @contextmanager
    def recording(self, verb: str, about: str, caller: Principal | None) -> Iterator[dict[str, str]]:
        """A line for what happens in the block; what is put into the yielded facts is told too."""
        facts: dict[str, str] = {}
        result = "INTERNAL_ERROR"
        try:
            yield facts
            result = OK
        except DomainError as error:
            result = error.code
            raise
        except asyncio.CancelledError:
            result = "CANCELLED"
            raise
        finally:
            actor = acting()
            who = caller or (actor.principal if actor is not None else None)
            self._write(actor, who, {"verb": verb, "object": about, "result": result, **facts})

    def _write(self, actor: Actor | None, who: Principal | None, told: Facts) -> None:
        if actor is not None:
            actor.is_recorded = True
        self._lines.write(
            {
                "at": self._clock.now(),
                "who": None if who is None else who.id,
                "role": None if who is None else who.role.value,
                "door": None if actor is None else actor.door,
                "request_id": None if actor is None else actor.request_id,
                **told,
                "object": told["object"][:OBJECT_LENGTH_MAX],
            }
        )
