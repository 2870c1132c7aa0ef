"""Runs alembic inside our process; users need no alembic.ini."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from control_plane.domain.errors import Conflict


def climb(connection: Connection, present: str | None) -> None:
    """From the version `present` (None: no tables yet) to the newest."""
    settings = configuration(connection)
    known = [script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()]
    if present is not None and present not in known:
        raise Conflict(
            f"the database is of a newer version of tritonplane (its tables are {present!r}, this version knows up to "
            f"{known[0]!r}): start that version, or use another state directory"
        )
    command.upgrade(settings, "head")


def configuration(connection: Connection | None = None) -> Config:
    settings = Config()
    # Config reads its values as templates, where a percent sign is written twice.
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings
