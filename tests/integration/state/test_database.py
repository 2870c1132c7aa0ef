"""The SQLite file itself: its settings, its migrations, and what is left after a sudden death."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text, update

from control_plane.domain.errors import Conflict, InvalidRequest, Unavailable
from control_plane.domain.models import ModelRecord
from control_plane.gateways.state import SqlModelStore, migrations, open_database
from control_plane.gateways.state.migrations import steps
from control_plane.gateways.state.tables import metadata, models, revision_numbers

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RECORD = ModelRecord("tiny", NOON, NOON, aliases={"stable": 1}, desired=frozenset({1}))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/state.db"


async def test_c_persist_01_records_and_used_numbers_survive_a_restart(url: str) -> None:
    async with open_database(url) as database:
        store = SqlModelStore(database)
        await store.create(RECORD)
        await store.next_revision("tiny")
    async with open_database(url) as database:
        store = SqlModelStore(database)
        assert list(await store.list()) == [RECORD]
        assert await store.next_revision("tiny") == 2


async def test_c_persist_01_the_database_writes_ahead_and_enforces_foreign_keys(url: str) -> None:
    async with open_database(url) as database, database.reading() as connection:
        found = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000, "synchronous": 1}


async def test_the_migrations_lead_exactly_to_the_tables(url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))

    async with open_database(url) as database, database.reading() as connection:
        assert await connection.run_sync(differences) == []


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(steps.configuration()).get_heads() == [migrations.HEAD]


def test_a_start_without_anything_to_migrate_does_not_even_import_alembic(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from control_plane.gateways.state import open_database\n"
        "async def main():\n"
        f"    async with open_database('sqlite+aiosqlite:///{tmp_path}/state.db'):\n"
        "        print('alembic' in sys.modules)\n"
        "asyncio.run(main())\n"
    )
    starts = [
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True) for _ in range(2)
    ]
    assert [start.stdout.strip() for start in starts] == ["True", "False"]


async def test_a_database_of_a_newer_version_is_refused_in_one_sentence(url: str) -> None:
    async with open_database(url) as database, database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'r9999'"))
    with pytest.raises(Conflict, match=r"newer version of tritonplane .*'r9999'.*'r0004'"):
        async with open_database(url):
            pass


@pytest.mark.parametrize(
    "wrong", ["postgresql://host/name", "postgresql+asyncpg://u:p@host/name", "state.db", "", "://"]
)
async def test_a_database_that_is_not_sqlite_is_refused_in_one_sentence(wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="the database URL"):
        async with open_database(wrong):
            pass


async def test_a_url_without_a_driver_is_enough(tmp_path: Path) -> None:
    async with open_database(f"sqlite:///{tmp_path}/own.db") as database:
        await database.check()
    assert (tmp_path / "own.db").exists()


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(url: str, tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("something else " * 100)
    with pytest.raises(Conflict, match="cannot be opened: file is not a database"):
        async with open_database(url):
            pass
    assert (tmp_path / "state.db").read_text() == "something else " * 100


async def test_a_migration_that_fails_leaves_no_table_behind(url: str, tmp_path: Path) -> None:
    # A table of that name stands in the way of the last step of the first migration.
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("CREATE TABLE api_keys (id TEXT)")
    connection.close()
    with pytest.raises(Conflict, match="api_keys already exists"):
        async with open_database(url):
            pass
    with sqlite3.connect(tmp_path / "state.db") as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    connection.close()
    assert tables == ["api_keys"]


async def test_a_transaction_that_raises_leaves_nothing(url: str) -> None:
    async with open_database(url) as database:
        store = SqlModelStore(database)
        await store.create(RECORD)

        async def write_and_fail() -> None:
            async with database.writing() as connection:
                await connection.execute(update(models).values(is_builtin=True))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await write_and_fail()
        assert list(await store.list()) == [RECORD]


async def test_a_writer_that_reads_first_waits_for_another_writer_instead_of_failing(url: str) -> None:
    async with open_database(url) as database:
        store = SqlModelStore(database)
        await store.next_revision("tiny")

        async def read_then_write() -> None:
            async with database.writing() as connection:
                last = (await connection.execute(select(revision_numbers.c.last))).scalar_one()
                await connection.execute(update(revision_numbers).values(last=last + 1))

        await asyncio.gather(*(read_then_write() for _ in range(20)))
        assert await store.next_revision("tiny") == 22


async def test_check_passes_on_a_database_and_fails_when_its_tables_are_gone(url: str, tmp_path: Path) -> None:
    async with open_database(url) as database:
        await database.check()
        with sqlite3.connect(tmp_path / "state.db") as connection:
            connection.execute("DROP TABLE alembic_version")
        connection.close()
        with pytest.raises(Unavailable) as caught:
            await database.check()
    assert str(tmp_path) not in caught.value.message


WRITER = """
import asyncio, sys
from control_plane.gateways.state import SqlModelStore, open_database

async def main():
    async with open_database(sys.argv[1]) as database:
        store = SqlModelStore(database)
        while True:
            print(await store.next_revision("tiny"), flush=True)

asyncio.run(main())
"""


def numbers_told_before_the_kill(url: str) -> list[int]:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer.stdout:
        told = [int(writer.stdout.readline()) for _ in range(25)]
        os.kill(writer.pid, signal.SIGKILL)
        told += [int(line) for line in writer.stdout if line.endswith("\n")]
    writer.wait()
    return told


async def test_c_persist_01_a_server_killed_while_it_writes_leaves_a_whole_database(url: str) -> None:
    told = numbers_told_before_the_kill(url)
    async with open_database(url) as database:
        async with database.reading() as connection:
            assert (await connection.execute(text("PRAGMA integrity_check"))).scalar_one() == "ok"
        # One more may have been committed that the writer could no longer tell of.
        assert await SqlModelStore(database).next_revision("tiny") - told[-1] in (1, 2)
    assert told == list(range(1, len(told) + 1))
