"""One database: opened at the present version of its tables, read and written in short transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from control_plane.domain.errors import Conflict, InvalidRequest, Unavailable
from control_plane.gateways.state.migrations import to_head

CHECK_TIMEOUT_S = 2.0
SQLITE_SETTINGS = (
    "PRAGMA journal_mode=WAL",  # readers and the writer do not wait for each other
    "PRAGMA synchronous=NORMAL",  # with WAL a commit survives the death of the process, and the file any crash
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
)
_WRITES = "tritonplane_writes"


class SqlDatabase:
    """Raises Unavailable when the database does not answer; IntegrityError is the stores' to translate."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._reader = engine
        self._writer = engine.execution_options(**{_WRITES: True})

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent picture of the database."""
        async with _translated(), self._reader.begin() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end unless something is raised."""
        async with _translated(), self._writer.begin() as connection:
            yield connection

    async def check(self) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S), self.reading() as connection:
                # Not "SELECT 1", which SQLite answers without looking at the file.
                await connection.execute(text("SELECT version_num FROM alembic_version"))
        except TimeoutError as error:
            raise Unavailable("the database does not answer") from error


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[SqlDatabase]:
    """The database at `url`, migrated to the present version.

    Raises: InvalidRequest for another kind of database, Conflict when it is of a newer version of the product or is
    no database at all.
    """
    engine = create_async_engine(_sqlite(url))
    event.listen(engine.sync_engine, "connect", _configure_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    database = SqlDatabase(engine)
    try:
        await _migrate(database)
        yield database
    finally:
        await engine.dispose()


def _sqlite(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidRequest("the database URL is not one: it looks like 'sqlite:////absolute/path.db'") from error
    if parsed.get_backend_name() != "sqlite":
        raise InvalidRequest("this version keeps its state in SQLite only: the database URL must begin with 'sqlite:'")
    return parsed.set(drivername="sqlite+aiosqlite")


async def _migrate(database: SqlDatabase) -> None:
    try:
        async with database.writing() as connection:
            await connection.run_sync(to_head)
    except Unavailable as error:
        reason = getattr(error.__cause__, "orig", error)
        raise Conflict(f"the database cannot be opened: {reason}") from error


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, NoConnectionLeft) as error:
        raise Unavailable("the database does not answer") from error


def _configure_sqlite(connection: DBAPIConnection, _record: Any) -> None:
    # The driver would begin transactions by itself, late, and commit before DDL: _begin_sqlite does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    for setting in SQLITE_SETTINGS:
        cursor.execute(setting)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once if another one wrote in between,
    # whatever the busy_timeout; one that says at its beginning that it will write waits its turn.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
