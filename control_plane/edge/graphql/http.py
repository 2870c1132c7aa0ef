"""GraphQL's one route: POST, GET for queries, a page for browsers, and a WebSocket."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive
from starlette.websockets import WebSocket

from control_plane.edge.graphql.asking import Asked, asked_in_body, asked_in_query
from control_plane.edge.graphql.context import Call
from control_plane.edge.graphql.failures import Json
from control_plane.edge.graphql.operations import Operations, Schema
from control_plane.edge.graphql.page import add_page
from control_plane.edge.graphql.sockets import converse
from control_plane.edge.http.routing import Routes, Viewer

PATH = "/graphql"
_CALLER_LEFT = 499  # nginx's word for it; nobody is there to read it


def graphql_routes(schema: Callable[[bool], Schema]) -> Routes:
    """`schema(tells_itself)` is called for every request, and remembers what it made."""
    routes = Routes("GraphQL")

    def operations_of(app: Any) -> Operations:
        config = app.state.http_config
        return Operations(schema(config.graphql_introspection), config.debug)

    @routes.post(PATH, limit=None, include_in_schema=False)
    async def post(request: Request, caller: Viewer) -> Response:
        asked = asked_in_body(await request.body(), request.headers.get("content-type", ""))
        return await _answer(request, operations_of(request.app), asked)

    @routes.get(PATH, limit=None, include_in_schema=False)
    async def get(request: Request, caller: Viewer) -> Response:
        asked = asked_in_query(request.query_params)
        return await _answer(request, operations_of(request.app), asked, only_reads=True)

    @routes.websocket(PATH, admits_itself=True)
    async def socket(websocket: WebSocket) -> None:
        await converse(websocket, operations_of(websocket.app))

    add_page(routes, PATH)
    return routes


async def _answer(request: Request, operations: Operations, asked: Asked, *, only_reads: bool = False) -> Response:
    """What GraphQL refuses or a resolver raises is said in a 200 (T-GQL-12)."""
    state = request.scope["state"]
    call = Call(request.app.state.services, state["visit"], state["request_id"])
    result = await _unless_left(operations.answer(asked, call, only_reads=only_reads), request.receive)
    if result is None:
        return Response(status_code=_CALLER_LEFT)
    body = json.dumps(result, default=str, separators=(",", ":"))
    return Response(body, headers=_headers(result.get("errors", ())), media_type="application/json")


async def _unless_left(work: Coroutine[Any, Any, Json], receive: Receive) -> Json | None:
    """What the work gives; None where the caller left first, who takes what he asked for with him."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(errors: Sequence[Json]) -> dict[str, str]:
    told = [error["extensions"]["details"].get("retry_after_seconds") for error in errors]
    waits_s = [wait_s for wait_s in told if isinstance(wait_s, int | float)]
    return {"Retry-After": str(math.ceil(max(waits_s)))} if waits_s else {}
