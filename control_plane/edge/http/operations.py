"""The routes that belong to no API: metrics and OpenAPI documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.responses import JSONResponse, Response

from control_plane.domain.errors import DomainError
from control_plane.edge.http.routing import Routes, Viewer
from control_plane.edge.tallies import Collector

TritonMetrics = Callable[[], Awaitable[str]]


async def no_triton_metrics() -> str:
    return ""


class Metrics:
    """Our numbers, then Triton's own (`nv_*`), in one Prometheus text."""

    def __init__(self, collector: Collector, triton: TritonMetrics) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        self._triton = triton

    async def text(self) -> str:
        try:
            theirs = await self._triton()
        except DomainError as error:
            theirs = f"# Triton's own metrics are missing: {error.message.splitlines()[0]}\n"
        return generate_latest(self._registry).decode() + theirs


def metrics_routes(*, needs_viewer: bool) -> Routes:
    routes = Routes("Operations")
    options: dict[str, Any] = {"summary": "Prometheus metrics", "response_class": Response}

    async def open_metrics(request: Request) -> Response:
        return Response(await request.app.state.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def closed_metrics(request: Request, caller: Viewer) -> Response:
        return await open_metrics(request)

    if needs_viewer:
        routes.get("/metrics", limit=None, **options)(closed_metrics)
    else:
        routes.get("/metrics", is_public=True, **options)(open_metrics)
    return routes


def document_route(path: str) -> Routes:
    """An OpenAPI document."""
    routes = Routes("Operations")

    @routes.get(path, is_public=True, include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(request.app.state.documents[path]())

    return routes
