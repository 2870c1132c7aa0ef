"""Our own API over HTTP."""

from __future__ import annotations

from control_plane.dialects.native import access, models
from control_plane.edge.http.routing import Dialect, Routes

routes = Routes("Native")
routes.declared += access.routes.declared + models.routes.declared
DIALECT = Dialect(name="native", routes=routes)
