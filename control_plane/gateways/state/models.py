"""Records of models in SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.domain.errors import Conflict, ModelNotFound
from control_plane.domain.models import ModelRecord
from control_plane.gateways.state.database import SqlDatabase
from control_plane.gateways.state.tables import aliases, desired_revisions, models

# One statement, so that no two callers get one number. SQLite and PostgreSQL read it alike.
NEXT_REVISION = text(
    "INSERT INTO revision_numbers (model, last) VALUES (:model, 1) "
    "ON CONFLICT (model) DO UPDATE SET last = revision_numbers.last + 1 RETURNING last"
)


class SqlModelStore:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def list(self) -> Sequence[ModelRecord]:
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(models).order_by(models.c.name))).all()
            alias_rows = (await connection.execute(select(aliases))).all()
            desired_rows = (await connection.execute(select(desired_revisions))).all()
        aliases_of: dict[str, dict[str, int]] = defaultdict(dict)
        for row in alias_rows:
            aliases_of[row.model][row.alias] = row.revision
        desired_of: dict[str, set[int]] = defaultdict(set)
        for row in desired_rows:
            desired_of[row.model].add(row.revision)
        return [
            ModelRecord(
                name=row.name,
                created_at=row.created_at,
                updated_at=row.updated_at,
                is_builtin=row.is_builtin,
                aliases=aliases_of[row.name],
                desired=frozenset(desired_of[row.name]),
            )
            for row in rows
        ]

    async def create(self, record: ModelRecord) -> None:
        try:
            async with self._database.writing() as connection:
                await connection.execute(
                    insert(models).values(
                        name=record.name,
                        created_at=record.created_at,
                        updated_at=record.updated_at,
                        is_builtin=record.is_builtin,
                    )
                )
                for alias, revision in record.aliases.items():
                    await _point(connection, record.name, alias, revision)
                await _want(connection, record.name, record.desired)
        except IntegrityError as error:
            raise Conflict(f"a model named {record.name!r} exists already") from error

    async def next_revision(self, name: str) -> int:
        async with self._database.writing() as connection:
            return int((await connection.execute(NEXT_REVISION, {"model": name})).scalar_one())

    async def set_alias(self, name: str, alias: str, revision: int, at: datetime) -> None:
        async with self._database.writing() as connection:
            await _touch(connection, name, at)
            await connection.execute(delete(aliases).where(aliases.c.model == name, aliases.c.alias == alias))
            await _point(connection, name, alias, revision)

    async def set_desired(self, name: str, revisions: frozenset[int], at: datetime) -> None:
        async with self._database.writing() as connection:
            await _touch(connection, name, at)
            await connection.execute(delete(desired_revisions).where(desired_revisions.c.model == name))
            await _want(connection, name, revisions)

    async def delete(self, name: str) -> None:
        async with self._database.writing() as connection:
            await connection.execute(delete(models).where(models.c.name == name))


async def _touch(connection: AsyncConnection, name: str, at: datetime) -> None:
    touched = await connection.execute(update(models).where(models.c.name == name).values(updated_at=at))
    if not touched.rowcount:
        raise ModelNotFound(f"no model named {name!r}")


async def _point(connection: AsyncConnection, name: str, alias: str, revision: int) -> None:
    await connection.execute(insert(aliases).values(model=name, alias=alias, revision=revision))


async def _want(connection: AsyncConnection, name: str, revisions: frozenset[int]) -> None:
    if revisions:
        rows = [{"model": name, "revision": revision} for revision in sorted(revisions)]
        await connection.execute(insert(desired_revisions), rows)
