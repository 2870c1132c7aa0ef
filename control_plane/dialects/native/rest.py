"""Our own API over HTTP."""

from __future__ import annotations

from control_plane.dialects.native import access, admin, catalog, events, jobs, models
from control_plane.edge.http.routing import Dialect, Routes

routes = Routes("Native")
for part in (access, models, jobs, events, catalog, admin):
    routes.declared += part.routes.declared
DIALECT = Dialect(name="native", routes=routes)
