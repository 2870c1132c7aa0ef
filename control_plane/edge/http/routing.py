"""How a dialect declares its comfortable routes, and how a route says who may call it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError
from control_plane.domain.limits import LimitClass
from control_plane.edge.http.idempotency import keyed
from control_plane.edge.http.lean import LeanRoute
from control_plane.edge.quotas import Visit
from control_plane.services.access import Access
from control_plane.services.registry import Services

P = ParamSpec("P")
R = TypeVar("R")
Endpoint = Callable[P, Awaitable[R]]
SocketEndpoint = Callable[[WebSocket], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asking:
    """A caller whose role has not been compared yet."""

    principal: Principal
    needed: Role
    visit: Visit


class Needs:
    """The least role of a route. FastAPI runs it before it validates the request, so it compares nothing yet."""

    def __init__(self, role: Callable[[Access], Role]) -> None:
        self._role = role

    def __call__(self, connection: HTTPConnection) -> Asking:
        services: Services = connection.app.state.services
        state = connection.scope["state"]
        return Asking(state["principal"], self._role(services.access), state["visit"])


_EVERYBODY = Needs(lambda access: Role.VIEWER)
Viewer = Annotated[Principal, Depends(_EVERYBODY)]
Inferrer = Annotated[Principal, Depends(Needs(lambda access: Role.USER))]
Manager = Annotated[Principal, Depends(Needs(lambda access: access.management_role))]
Admin = Annotated[Principal, Depends(Needs(lambda access: Role.ADMIN))]


def _services(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


@dataclass(frozen=True, slots=True)
class Declared:
    """A comfortable route: what FastAPI's `add_api_route` is given, and what only we know of it.

    `limit`: the quota that a request counts in; None where requests are not counted.
    """

    method: str
    path: str
    endpoint: Callable[..., Any]
    options: Mapping[str, Any]
    is_public: bool
    takes_upload: bool
    limit: LimitClass | None = LimitClass.DEFAULT
    is_idempotent: bool = False


@dataclass(frozen=True, slots=True)
class DeclaredSocket:
    """A WebSocket route: who has less than `role` is refused before it opens.

    One that `admits_itself` opens to everybody, and its endpoint looks at `edge.http.sockets.entry.entry_of`.
    """

    path: str
    endpoint: SocketEndpoint
    role: Role
    admits_itself: bool


class Routes:
    """The comfortable routes of a dialect, in the order they are declared."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.declared: list[Declared] = []
        self.sockets: list[DeclaredSocket] = []
        self.pages: dict[str, str] = {}

    def get(self, path: str, **options: Any) -> Callable[[Endpoint[P, R]], Endpoint[P, R]]:
        return self._route("GET", path, options)

    def post(self, path: str, **options: Any) -> Callable[[Endpoint[P, R]], Endpoint[P, R]]:
        return self._route("POST", path, options)

    def delete(self, path: str, **options: Any) -> Callable[[Endpoint[P, R]], Endpoint[P, R]]:
        return self._route("DELETE", path, options)

    def show(self, page: str, *, to_browsers_at: str) -> None:
        """Who asks with GET for HTML there is shown what the route `page` answers."""
        self.pages[to_browsers_at] = page

    def websocket(
        self, path: str, *, role: Role = Role.VIEWER, admits_itself: bool = False
    ) -> Callable[[SocketEndpoint], SocketEndpoint]:
        """The endpoint accepts the socket itself; a path parameter is in `websocket.path_params`."""

        def declare(endpoint: SocketEndpoint) -> SocketEndpoint:
            self.sockets.append(DeclaredSocket(path, endpoint, role, admits_itself))
            return endpoint

        return declare

    def _route(self, method: str, path: str, options: dict[str, Any]) -> Callable[[Endpoint[P, R]], Endpoint[P, R]]:
        """Four options are ours: `is_public` (credentials are ignored, nothing is counted), `takes_upload` (the larger
        body limit), `limit`, and `is_idempotent` (a request may carry a key under which it is carried out once)."""
        is_public, takes_upload = options.pop("is_public", False), options.pop("takes_upload", False)
        limit: LimitClass | None = None if is_public else options.pop("limit", LimitClass.DEFAULT)
        is_idempotent = options.pop("is_idempotent", False)
        options = {"tags": [self.tag], **(keyed(options) if is_idempotent else options)}

        def declare(endpoint: Endpoint[P, R]) -> Endpoint[P, R]:
            entered = endpoint if is_public else entered_by_role(endpoint, limit)
            self.declared.append(
                Declared(method, path, entered, options, is_public, takes_upload, limit, is_idempotent)
            )
            return endpoint

        return declare


def entered_by_role(endpoint: Callable[..., Awaitable[R]], limit: LimitClass | None) -> Callable[..., Awaitable[R]]:
    """The endpoint behind the comparison of roles and then the quota, which come after the request's form (C-ERR-09).

    Every endpoint that is not public has a parameter `caller`, a Viewer, Inferrer, Manager or Admin.
    """

    @wraps(endpoint)
    async def entered(*, caller: Asking, **values: Any) -> R:
        caller.principal.require(caller.needed)
        if limit is not None:
            caller.visit.enter(limit)
        try:
            return await endpoint(caller=caller.principal, **values)
        except DomainError as error:
            caller.visit.forgive(error)
            raise

    return entered


def is_for_every_role(route: APIRoute) -> bool:
    return any(part.call is _EVERYBODY for part in route.dependant.dependencies)


def no_lean_routes(services: Services) -> Sequence[LeanRoute[Any]]:
    return ()


@dataclass(frozen=True, slots=True)
class Document:
    """A dialect's own OpenAPI document, served at `path`; `server` is the prefix its paths stand under."""

    path: str
    server: str
    title: str
    version: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One public API over HTTP. `mounts` are the prefixes under which its paths answer."""

    name: str
    routes: Routes
    lean: Callable[[Services], Sequence[LeanRoute[Any]]] = no_lean_routes
    mounts: tuple[str, ...] = ("",)
    document: Document | None = field(default=None)
