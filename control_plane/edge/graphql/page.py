"""GraphiQL, the page to try queries on: nothing of it comes from the internet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import FileResponse

from control_plane.edge.http.routing import Routes

_FILES = Path(__file__).parent / "static"
_PAGE = "page.html"
# Its editor sets styles on elements, and its style sheet holds its fonts.
_ONLY_OURS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self' data:; img-src 'self' data:; frame-ancestors 'none'",
    "Vary": "Accept",
}
_KEPT = {"Cache-Control": "public, max-age=3600"}
_OPTIONS: dict[str, Any] = {"is_public": True, "include_in_schema": False}


def add_page(routes: Routes, path: str) -> None:
    """A GET of `path` that asks for HTML is shown the page; it needs no credential, what it asks then does."""
    shown_at = f"{path}/page"
    routes.show(shown_at, to_browsers_at=path)

    @routes.get(shown_at, **_OPTIONS)
    async def page() -> FileResponse:
        return FileResponse(_FILES / _PAGE, headers=_ONLY_OURS)

    for file in sorted(_FILES.iterdir()):
        if file.suffix in (".js", ".css"):
            _add_file(routes, f"{path}/page/{file.name}", file)


def _add_file(routes: Routes, path: str, file: Path) -> None:
    @routes.get(path, **_OPTIONS)
    async def asset() -> FileResponse:
        return FileResponse(file, headers=_KEPT)
