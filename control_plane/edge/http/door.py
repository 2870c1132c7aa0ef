"""Who comes in: the same few checks in front of lean and comfortable routes."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.domain.access import Principal
from control_plane.edge.http.arrivals import credentials_of, presented_in
from control_plane.edge.refusals import stopping
from control_plane.services.access import Access, raw_credential
from control_plane.services.health import HealthService


class Door:
    def __init__(self, access: Access, health: HealthService) -> None:
        self._access, self._health = access, health

    async def admit(self, headers: Mapping[bytes, bytes], query: bytes) -> Principal:
        """Who calls. One dictionary lookup for a credential seen a moment ago. Raises NotAuthenticated."""
        authorization, api_key = credentials_of(headers, query)
        known = self._access.recall(raw_credential(authorization, api_key))
        return known or await self._access.identify(presented_in(authorization, api_key))

    def check_open(self) -> None:
        """Raises Unavailable once the server is stopping: no new work, while what runs finishes."""
        if self._health.is_stopping:
            raise stopping()
