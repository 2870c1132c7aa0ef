"""Access over real credentials and a key store in memory, whose look-ups can be counted and held back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from control_plane.domain.access import ApiKey, Claims, Principal, Role
from control_plane.gateways.credentials import JwtConfig, LocalCredentials
from control_plane.services.access import Access, NewKey, Presented
from tests.doubles.clock import FixedClock
from tests.doubles.stores import InMemoryKeyStore

ROOT = Principal("root", Role.ADMIN)
SECRET = "a secret of at least thirty-two bytes"


class CountingKeyStore(InMemoryKeyStore):
    """Counts look-ups, and holds them back while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def by_digest(self, digest: str) -> ApiKey | None:
        self.lookups += 1
        found = await super().by_digest(digest)
        await self.gate.wait()
        return found


@dataclass
class World:
    access: Access
    keys: CountingKeyStore
    clock: FixedClock
    credentials: LocalCredentials

    def token(self, subject: str = "alice", role: Role = Role.USER, lives_s: float = 3600) -> str:
        return self.credentials.sign(Claims(subject, role, self.clock.seconds() + lives_s))

    async def key(self, role: Role = Role.USER, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        return await self.access.create_key(NewKey("a key", role, "ai-services", expires_at), ROOT)


def a_world(anonymous_role: Role | None = None, config: JwtConfig | None = None) -> World:
    # The clock stands still at the present, since PyJWT looks at the real one.
    keys, clock = CountingKeyStore(), FixedClock(datetime.now(UTC))
    credentials = LocalCredentials(config or JwtConfig(secret=SECRET))
    return World(Access(credentials, keys, clock, anonymous_role), keys, clock, credentials)


def bearer(secret: str) -> Presented:
    return Presented(authorization=f"Bearer {secret}")
