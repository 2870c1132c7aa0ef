"""What happens around every gRPC method: the request id, the door, and errors as statuses."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import AbortError, ServerInterceptor, ServicerContext

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError, InvalidRequest
from control_plane.edge.grpc.call import Call, begin, presented_in, request_id_of
from control_plane.edge.grpc.errors import STATUSES, message_of, trailers_of
from control_plane.edge.refusals import stopping, unexpected
from control_plane.services.access import Access
from control_plane.services.health import HealthService

log = logging.getLogger(__name__)
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_FACTORIES: Mapping[tuple[bool, bool], Callable[..., Handler]] = {  # by: requests stream, responses stream
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class Doorkeeper(ServerInterceptor):  # type: ignore[type-arg] # generic in its stubs only
    """Lets in whom `roles` allows: the least role by full method name, None for everybody.

    A method without a row needs the highest role, so that forgetting one never opens it.
    """

    def __init__(self, access: Access, health: HealthService, roles: Mapping[str, Role | None]) -> None:
        self._access, self._health, self._roles = access, health, roles

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None:  # an unknown method: gRPC answers UNIMPLEMENTED itself
            return handler
        return self._guarded(handler, handler_call_details)

    def _guarded(self, handler: Handler, details: grpc.HandlerCallDetails) -> Handler:
        method, metadata = details.method, _first_values(details.invocation_metadata)
        kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
        behaviour: Callable[..., Any] = next(kind for kind in kinds if kind is not None)
        parse = None if handler.request_streaming else handler.request_deserializer

        async def answer(message: Any, context: ServicerContext[Any, Any]) -> Any:
            request_id = request_id_of(metadata)
            context.set_trailing_metadata((("x-request-id", request_id),))
            try:
                begin(Call(request_id, await self._admit(method, metadata)))
                return await _run(behaviour, _parsed(parse, message), context)
            except DomainError as error:
                await context.abort(STATUSES[error.code], message_of(error), trailers_of(error, request_id))
            except NotImplementedError:  # what a generated servicer raises for a method that nobody wrote
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not in this version of the server")
            except AbortError:
                raise
            except Exception as error:
                log.exception("a gRPC method failed", extra={"method": method, "request_id": request_id})
                bug = unexpected(error)
                await context.abort(STATUSES[bug.code], bug.message, trailers_of(bug, request_id))

        factory = _FACTORIES[handler.request_streaming, handler.response_streaming]
        # Bytes reach `answer` unparsed: who may not call learns nothing about the message's form.
        deserializer = handler.request_deserializer if handler.request_streaming else None
        return factory(answer, deserializer, handler.response_serializer)

    async def _admit(self, method: str, metadata: Mapping[str, str | bytes]) -> Principal | None:
        """Who calls. Raises NotAuthenticated, NotPermitted, and Unavailable once the server is stopping."""
        needed = self._roles.get(method, Role.ADMIN)
        if needed is None:
            return None
        principal = await self._access.identify(presented_in(metadata))
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
