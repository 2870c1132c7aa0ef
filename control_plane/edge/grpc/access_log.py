"""The access log of gRPC: an interceptor around the doorkeeper, only there when it is wanted."""

from __future__ import annotations

from typing import Any

import grpc
from grpc.aio import ServicerContext

from control_plane.edge.access_log import Lines, Stopwatch
from control_plane.edge.grpc.call import address_of
from control_plane.edge.grpc.handlers import Around, Handler, behaviour_of, rebuilt
from control_plane.services.audit import acting

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallLog(Around):
    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def around(self, handler: Handler, details: grpc.HandlerCallDetails) -> Handler:
        behaviour, method = behaviour_of(handler), details.method

        async def logged(message: Any, context: ServicerContext[Any, Any]) -> Any:
            watch = Stopwatch()
            try:
                return await behaviour(message, context)
            finally:
                self._write(method, context, watch)

        return rebuilt(handler, logged, handler.request_deserializer)

    def _write(self, method: str, context: ServicerContext[Any, Any], watch: Stopwatch) -> None:
        actor, code = acting(), context.code()
        number = code.value[0] if isinstance(code, grpc.StatusCode) else code or 0
        self._lines.write(
            {
                "at": watch.at,
                "request_id": actor and actor.request_id,
                "who": actor and actor.principal and actor.principal.id,
                "peer": address_of(context.peer()) or None,
                "method": "GRPC",
                "path": method,
                "query": "",
                "status": "CANCELLED" if context.cancelled() else _NAMES[number],
                "took_ms": watch.took_ms(),
            }
        )
