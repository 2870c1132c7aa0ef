"""Who comes in: the same few checks in front of lean and comfortable routes."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.domain.access import Principal
from control_plane.edge.http.arrivals import credentials_of, presented_in
from control_plane.edge.quotas import Quotas
from control_plane.edge.refusals import stopping
from control_plane.services.access import Access, raw_credential
from control_plane.services.health import HealthService

Client = tuple[str, int] | None


class Door:
    """`quotas` count who has come in, and what he asks."""

    def __init__(self, access: Access, health: HealthService, quotas: Quotas) -> None:
        self._access, self._health, self.quotas = access, health, quotas

    async def admit(self, headers: Mapping[bytes, bytes], query: bytes, client: Client = None) -> Principal:
        """Who calls. One dictionary lookup for a credential seen a moment ago. Raises NotAuthenticated.

        `client` is the ASGI scope's: a caller without a credential is known by his address.
        """
        authorization, api_key = credentials_of(headers, query)
        known = self._access.recall(raw_credential(authorization, api_key))
        principal = known or await self._access.identify(presented_in(authorization, api_key))
        if not principal.is_anonymous:
            return principal
        forwarded_for = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return self.quotas.named(principal, client[0] if client else "", forwarded_for)

    def check_open(self) -> None:
        """Raises Unavailable once the server is stopping: no new work, while what runs finishes."""
        if self._health.is_stopping:
            raise stopping()
