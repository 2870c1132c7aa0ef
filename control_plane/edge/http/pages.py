"""The documentation pages, with the scripts they need: nothing of them comes from the internet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse

from control_plane.edge.http.routing import Routes

_TITLE = "tritonplane: API"
_DOCUMENT = "/openapi.json"
_FILES = Path(fastapi_offline.__file__).parent / "static"
_ICON, _SWAGGER, _SWAGGER_STYLE, _REDOC = "favicon.png", "swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js"
# Redoc would still load its maker's logo from a CDN, and searches in a worker made from a blob.
_ONLY_OURS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:"
}
_KEPT = {"Cache-Control": "public, max-age=3600"}
_OPTIONS: dict[str, Any] = {"is_public": True, "include_in_schema": False}


def page_routes() -> Routes:
    routes = Routes("Operations")
    swagger = get_swagger_ui_html(
        openapi_url=_DOCUMENT,
        title=_TITLE,
        swagger_js_url=_at(_SWAGGER),
        swagger_css_url=_at(_SWAGGER_STYLE),
        swagger_favicon_url=_at(_ICON),
    )
    redoc = get_redoc_html(
        openapi_url=_DOCUMENT,
        title=_TITLE,
        redoc_js_url=_at(_REDOC),
        redoc_favicon_url=_at(_ICON),
        with_google_fonts=False,
    )
    _add_page(routes, "/docs", bytes(swagger.body))
    _add_page(routes, "/redoc", bytes(redoc.body))
    for name in (_ICON, _SWAGGER, _SWAGGER_STYLE, _REDOC):
        _add_file(routes, name)
    return routes


def _at(name: str) -> str:
    return f"/docs/{name}"


def _add_page(routes: Routes, path: str, body: bytes) -> None:
    @routes.get(path, **_OPTIONS)
    async def page() -> HTMLResponse:
        return HTMLResponse(body, headers=_ONLY_OURS)


def _add_file(routes: Routes, name: str) -> None:
    @routes.get(_at(name), **_OPTIONS)
    async def file() -> FileResponse:
        return FileResponse(_FILES / name, headers=_KEPT)
