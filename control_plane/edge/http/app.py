"""The HTTP application: lean routes in front, FastAPI behind, both built from the list of dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from control_plane.domain.configuration import EffectiveSetting
from control_plane.edge.access_log import Lines
from control_plane.edge.http import documents
from control_plane.edge.http.access_log import AccessLog
from control_plane.edge.http.cors import with_cors
from control_plane.edge.http.door import Door
from control_plane.edge.http.duties import Duties, Rules
from control_plane.edge.http.handlers import add_handlers
from control_plane.edge.http.idempotency import Keyed, KeyedRoute
from control_plane.edge.http.lean import LeanRoute, LeanRoutes, Limits, pattern_of
from control_plane.edge.http.operations import (
    Metrics,
    TritonMetrics,
    document_route,
    metrics_routes,
    no_triton_metrics,
)
from control_plane.edge.http.pages import page_routes
from control_plane.edge.http.routing import Declared, DeclaredSocket, Dialect, Document, Routes
from control_plane.edge.http.sockets.door import SocketDoor, SocketRules
from control_plane.edge.http.sockets.opened import OpenSockets
from control_plane.edge.quotas import Quotas
from control_plane.edge.tallies import Collector, Tallies
from control_plane.services.registry import Services

_WHOLE = Document(
    path="/openapi.json",
    server="",
    title="tritonplane",
    version="1.0.0",
    description="A control plane beside NVIDIA Triton Inference Server: every API of it.",
)


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Contract 9. `debug` puts traces into the bodies of 500s; `hide_pid` keeps it out of /health/live.

    `effective` is told to admins.
    """

    max_body_bytes: int = 16 * 1024 * 1024
    max_upload_bytes: int = 8 * 1024 * 1024 * 1024
    cors_origins: tuple[str, ...] = ()
    metrics_auth: bool = False
    debug: bool = False
    hide_pid: bool = False
    graphql_introspection: bool = True
    access_log: Lines | None = None
    effective: tuple[EffectiveSetting, ...] = ()


@dataclass(frozen=True, slots=True)
class _Mounted:
    """A declared route where it answers. A mirror (any mount but the first) is left out of the documents."""

    path: str
    route: Declared
    is_mirror: bool


def build_http(
    services: Services,
    config: HttpConfig,
    dialects: Sequence[Dialect],
    quotas: Quotas,
    triton_metrics: TritonMetrics = no_triton_metrics,
) -> ASGIApp:
    """Call it inside the event loop that serves."""
    mounted = [*_mounted_routes(dialects), *_own_routes(config, dialects)]
    lean = [route for dialect in dialects for route in _mounted_lean(dialect, services)]
    door, tallies = Door(services.access, services.health, quotas), Tallies()
    app = _fastapi(mounted)
    app.state.services, app.state.http_config, app.state.quotas = services, config, quotas
    app.state.tallies = tallies
    app.state.metrics = Metrics(Collector(tallies, services), triton_metrics)
    app.state.documents = _documents(app, dialects, services, mounted)
    add_handlers(app, _methods(mounted, lean), debug=config.debug)
    rules = SocketRules(config.cors_origins, config.debug)
    opened = OpenSockets(services.health.stopping)
    tallies.count_sockets = opened.__len__
    inside = SocketDoor(app, list(_mounted_sockets(dialects)), door, opened, tallies, rules)
    once = Keyed(inside, services.idempotency, list(_keyed_routes(mounted)), config.max_body_bytes)
    rules_of_all = replace(_rules(mounted, config), pages=dict(_pages(dialects)))
    behind = Duties(once, door, tallies, rules_of_all, services.audit)
    front: ASGIApp = LeanRoutes(lean, door, tallies, Limits(config.max_body_bytes, config.debug), behind)
    front = with_cors(front, config.cors_origins)
    return front if config.access_log is None else AccessLog(front, config.access_log)


def _mounted_routes(dialects: Sequence[Dialect]) -> Iterator[_Mounted]:
    for dialect in dialects:
        for mount in dialect.mounts:
            for route in dialect.routes.declared:
                yield _Mounted(mount + route.path, route, mount != dialect.mounts[0])


def _mounted_sockets(dialects: Sequence[Dialect]) -> Iterator[tuple[str, DeclaredSocket]]:
    for dialect in dialects:
        for mount in dialect.mounts:
            yield from ((mount + socket.path, socket) for socket in dialect.routes.sockets)


def _pages(dialects: Sequence[Dialect]) -> Iterator[tuple[str, str]]:
    for dialect in dialects:
        for mount in dialect.mounts:
            yield from ((mount + path, mount + page) for path, page in dialect.routes.pages.items())


def _keyed_routes(mounted: Sequence[_Mounted]) -> Iterator[KeyedRoute]:
    keyed = [place for place in mounted if place.route.is_idempotent]
    yield from (KeyedRoute(place.path, pattern_of(place.path), place.route.limit) for place in keyed)


def _own_routes(config: HttpConfig, dialects: Sequence[Dialect]) -> Iterator[_Mounted]:
    own: list[Routes] = [metrics_routes(needs_viewer=config.metrics_auth), page_routes()]
    own += [document_route(document.path) for document in (_WHOLE, *_own_documents(dialects))]
    for routes in own:
        yield from (_Mounted(route.path, route, is_mirror=False) for route in routes.declared)


def _own_documents(dialects: Sequence[Dialect]) -> Iterator[Document]:
    yield from (dialect.document for dialect in dialects if dialect.document)


def _mounted_lean(dialect: Dialect, services: Services) -> Iterator[LeanRoute[Any]]:
    for mount in dialect.mounts:
        yield from (replace(route, template=mount + route.template) for route in dialect.lean(services))


def _fastapi(mounted: Sequence[_Mounted]) -> FastAPI:
    app = FastAPI(title=_WHOLE.title, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for place in mounted:
        options = dict(place.route.options)
        if place.is_mirror:
            options["include_in_schema"] = False
        app.add_api_route(place.path, place.route.endpoint, methods=[place.route.method], **options)
    return app


def _rules(mounted: Sequence[_Mounted], config: HttpConfig) -> Rules:
    return Rules(
        public=frozenset(place.path for place in mounted if place.route.is_public),
        uploads=[pattern_of(place.path) for place in mounted if place.route.takes_upload],
        max_body_bytes=config.max_body_bytes,
        max_upload_bytes=config.max_upload_bytes,
        debug=config.debug,
        limits={(place.route.method, place.path): place.route.limit for place in mounted if place.route.limit},
    )


def _methods(mounted: Sequence[_Mounted], lean: Sequence[LeanRoute[Any]]) -> Callable[[str], list[str]]:
    """Which methods a path has, over both kinds of routes; none where there is no such path."""
    known = [(pattern_of(place.path), place.route.method) for place in mounted]
    known += [(pattern_of(route.template), route.method) for route in lean]
    return lambda path: sorted({method for pattern, method in known if pattern.fullmatch(path)})


def _documents(
    app: FastAPI, dialects: Sequence[Dialect], services: Services, mounted: Sequence[_Mounted]
) -> dict[str, Callable[[], documents.Json]]:
    """Each is built when it is first asked for."""
    public = frozenset(place.path for place in mounted if place.route.is_public)
    lean = [replace(route, template=d.mounts[0] + route.template) for d in dialects for route in d.lean(services)]
    whole = documents.Covered(app.routes, lean, public)
    built: dict[str, Callable[[], documents.Json]] = {_WHOLE.path: cache(partial(documents.build, _WHOLE, whole))}
    for dialect in dialects:
        if dialect.document:
            paths = {route.path for route in dialect.routes.declared}
            own = documents.Covered(_routes_at(app, paths), dialect.lean(services), public)
            built[dialect.document.path] = cache(partial(documents.build, dialect.document, own))
    return built


def _routes_at(app: FastAPI, paths: set[str]) -> list[BaseRoute]:
    return [route for route in app.routes if getattr(route, "path", None) in paths]
