"""API keys in SQL, by the hash of the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from control_plane.domain.access import ApiKey, Role
from control_plane.domain.errors import Conflict
from control_plane.gateways.state.database import SqlDatabase
from control_plane.gateways.state.tables import api_keys


class SqlKeyStore:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, key: ApiKey) -> None:
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(api_keys).values(asdict(key)))
        except IntegrityError as error:
            raise Conflict("such an API key exists already") from error

    async def list(self) -> Sequence[ApiKey]:
        async with self._database.reading() as connection:
            rows = await connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))
            return [_key(row) for row in rows]

    async def by_digest(self, digest: str) -> ApiKey | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(api_keys).where(api_keys.c.digest == digest))).one_or_none()
        return None if row is None else _key(row)

    async def delete(self, key_id: str) -> bool:
        async with self._database.writing() as connection:
            deleted = await connection.execute(delete(api_keys).where(api_keys.c.id == key_id))
        return deleted.rowcount > 0


def _key(row: Row[Any]) -> ApiKey:
    columns = row._mapping
    return ApiKey(**{**columns, "role": Role(columns["role"])})
