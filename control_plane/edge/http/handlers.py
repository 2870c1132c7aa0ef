"""FastAPI's own refusals in our words: unknown routes, wrong methods, malformed and ill-shaped requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from control_plane.domain.errors import DomainError, InvalidRequest, MethodNotAllowed, NotFound
from control_plane.edge.http.arrivals import broken_off
from control_plane.edge.http.failures import failure
from control_plane.edge.refusals import unexpected

MethodsOf = Callable[[str], list[str]]
_SHOWN = 20


def add_handlers(app: FastAPI, methods_of: MethodsOf, *, debug: bool) -> None:
    """Starlette raises what nobody expected once more after it is answered; the duties around it log it."""

    def answer(request: Request, error: Exception) -> Response:
        said = _domain_error(request, error, methods_of)
        reply = failure(said, request.scope["path"], request.scope["state"]["request_id"])
        headers = {name.decode(): value.decode() for name, value in reply.headers}
        return Response(reply.body, reply.status, headers, media_type=reply.media_type.decode())

    def bug(request: Request, error: Exception) -> Response:
        return answer(request, unexpected(error, debug=debug))

    for kind in (DomainError, HTTPException, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(Exception, bug)


def wrong_shape(errors: Sequence[tuple[Sequence[str | int], str]]) -> InvalidRequest:
    """The request is JSON, but not of the form that the route takes. Each error is where, and what is wrong there."""
    shown = [{"loc": list(where), "msg": what} for where, what in errors[:_SHOWN]]
    where, what = errors[0]
    field = ".".join(map(str, where[1:])) or str(where[0])
    return InvalidRequest(f"{field}: {what}", reason="schema", errors=shown)


def _domain_error(request: Request, error: Exception, methods_of: MethodsOf) -> DomainError:
    if isinstance(error, DomainError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors(), request.headers.get("content-type", ""))
    if isinstance(error, ClientDisconnect):
        return broken_off()
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, DomainError):  # raised while FastAPI read the body
        return error.__cause__
    if error.status_code in (404, 405):
        return _no_route(request, methods_of)
    return InvalidRequest("the body could not be read as JSON", reason="json")


def _no_route(request: Request, methods_of: MethodsOf) -> DomainError:
    path = request.scope["path"]
    allowed = methods_of(path)
    if allowed:
        return MethodNotAllowed(f"{request.method} is not a method of {path[:200]}", allowed=allowed)
    return NotFound(f"there is no route {request.method} {path[:200]}")


def _invalid(errors: Sequence[Any], content_type: str) -> InvalidRequest:
    if errors[0]["loc"] == ("body",) and "json" not in content_type and errors[0]["type"] != "missing":
        # Read as JSON all the same, any web page could send it: a browser asks first only for other content types.
        return InvalidRequest("send the body as JSON, with the header Content-Type: application/json", reason="json")
    if any(error["type"] == "json_invalid" for error in errors):
        reason = errors[0].get("ctx", {}).get("error", "it cannot be read")
        return InvalidRequest(f"the body is not JSON: {reason}", reason="json")
    return wrong_shape([(error["loc"], error["msg"]) for error in errors])
