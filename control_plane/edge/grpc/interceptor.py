"""What happens around every gRPC method: the request id, the door, the quota, and errors as statuses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import AbortError, ServicerContext

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError, InvalidRequest, NotPermitted
from control_plane.domain.limits import LimitClass
from control_plane.edge.grpc.call import Call, address_of, begin, presented_in, request_id_of
from control_plane.edge.grpc.errors import STATUSES, message_of, trailers_of
from control_plane.edge.grpc.handlers import Around, Handler, behaviour_of, rebuilt
from control_plane.edge.quotas import Quotas, Visit
from control_plane.edge.refusals import fault, stopping
from control_plane.services.access import Access
from control_plane.services.audit import Actor, Audit, act
from control_plane.services.health import HealthService


@dataclass(frozen=True, slots=True)
class Rules:
    """By full method name: the least role, None for everybody; and what a call counts as, if not the default class.

    A method without a role needs the highest, so that forgetting one never opens it.
    """

    roles: Mapping[str, Role | None]
    limits: Mapping[str, LimitClass] = field(default_factory=dict)


class Doorkeeper(Around):
    """Lets in whom the rules allow, as often as the quotas do. What everybody may call is not counted."""

    def __init__(self, access: Access, health: HealthService, quotas: Quotas, rules: Rules, audit: Audit) -> None:
        self._access, self._health, self._quotas, self._rules = access, health, quotas, rules
        self._audit = audit

    def around(self, handler: Handler, details: grpc.HandlerCallDetails) -> Handler:
        method, metadata = details.method, _first_values(details.invocation_metadata)
        behaviour = behaviour_of(handler)
        parse = None if handler.request_streaming else handler.request_deserializer

        async def answer(message: Any, context: ServicerContext[Any, Any]) -> Any:
            request_id, visit = request_id_of(metadata), Visit(self._quotas)
            context.set_trailing_metadata((("x-request-id", request_id),))
            try:
                actor = act(Actor(None, request_id, "grpc", method))
                visit.principal = await self._admit(actor, metadata, context.peer())
                begin(Call(request_id, visit))
                parsed = _parsed(parse, message)
                if visit.principal is not None:
                    visit.enter(self._rules.limits.get(method, LimitClass.DEFAULT))
                return await _run(behaviour, parsed, context)
            except DomainError as error:
                visit.forgive(error)
                await context.abort(STATUSES[error.code], message_of(error), trailers_of(error, request_id))
            except AbortError:
                raise
            except Exception as error:
                bug = fault(error, request_id)
                await context.abort(STATUSES[bug.code], bug.message, trailers_of(bug, request_id))
            finally:
                visit.leave()

        # Bytes reach `answer` unparsed: who may not call learns nothing about the message's form.
        deserializer = handler.request_deserializer if handler.request_streaming else None
        return rebuilt(handler, answer, deserializer)

    async def _admit(self, actor: Actor, metadata: Mapping[str, str | bytes], peer: str) -> Principal | None:
        """Who calls. Raises NotAuthenticated, NotPermitted, and Unavailable once the server is stopping."""
        needed = self._rules.roles.get(actor.asked, Role.ADMIN)
        if needed is None:
            return None
        principal = await self._access.identify(presented_in(metadata))
        if principal.is_anonymous:
            principal = self._quotas.named(principal, address_of(peer), str(metadata.get("x-forwarded-for", "")))
        actor.principal = principal
        if not principal.role.covers(needed) and needed is self._access.management_role:
            self._audit.refuse(actor, NotPermitted.code)
        principal.require(needed)
        if self._health.is_stopping:
            raise stopping()
        return principal


async def _run(behaviour: Callable[..., Any], message: Any, context: ServicerContext[Any, Any]) -> Any:
    """Answer with a message, or send a generator's messages; a client that leaves closes the generator at once."""
    answer = behaviour(message, context)
    if not isinstance(answer, AsyncGenerator):
        return await answer
    async with aclosing(answer) as items:
        async for item in items:
            await context.write(item)
    return None


def _parsed(parse: Callable[[bytes], Any] | None, message: Any) -> Any:
    if parse is None:
        return message
    try:
        return parse(message)
    except DecodeError as error:
        raise InvalidRequest("the request is not the message that this method takes", reason="protobuf") from error


def _first_values(metadata: Any) -> dict[str, str | bytes]:
    return dict(reversed(tuple(metadata or ())))
