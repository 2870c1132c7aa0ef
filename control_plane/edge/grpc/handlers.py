"""gRPC's handlers, taken apart and put together again around something of ours."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
from grpc.aio import ServerInterceptor

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour: TypeAlias = Callable[..., Any]
_FACTORIES: Mapping[tuple[bool, bool], Callable[..., Handler]] = {  # by: requests stream, responses stream
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def behaviour_of(handler: Handler) -> Behaviour:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    return next(kind for kind in kinds if kind is not None)


def rebuilt(handler: Handler, behaviour: Behaviour, deserializer: Callable[[bytes], Any] | None) -> Handler:
    """The handler with another behaviour, and another reader of its requests; None leaves them bytes."""
    factory = _FACTORIES[handler.request_streaming, handler.response_streaming]
    return factory(behaviour, deserializer, handler.response_serializer)


class Around(ServerInterceptor):  # type: ignore[type-arg] # generic in its stubs only
    """Puts something around every method there is; gRPC itself answers UNIMPLEMENTED to the others."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        return handler if handler is None else self.around(handler, handler_call_details)

    @abstractmethod
    def around(self, handler: Handler, details: grpc.HandlerCallDetails) -> Handler: ...
