"""Web pages of other origins: none may call unless the operator lists its origin (C-CORS-01)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from control_plane.edge.http.lean import API_VERSION
from control_plane.edge.request_ids import request_id

_METHODS = ["GET", "POST", "PUT", "DELETE"]
_ACCEPTED = ["Authorization", "X-API-Key", "Content-Type", "X-Request-ID", "Idempotency-Key"]
_EXPOSED = ["X-Request-ID", "X-API-Version", "X-Total-Count", "Retry-After", "Idempotent-Replayed"]
_EXPOSED += ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    if not origins:
        return app
    return _Cors(app, origins, _METHODS, _ACCEPTED, expose_headers=_EXPOSED)


class _Cors(CORSMiddleware):
    """Answers preflights itself, in front of everything, so it owes them what every answer carries."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        response.headers["X-Request-ID"] = request_id(request_headers.get("x-request-id"))
        response.headers["X-API-Version"] = API_VERSION.decode()
        return response
