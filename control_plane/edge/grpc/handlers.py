"""gRPC's handlers, taken apart and put together again around something of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import grpc

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
