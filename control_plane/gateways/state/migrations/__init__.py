"""Leads a database from any older version of the tables to the present one.

A new version is a file in `versions`, written by hand, and HEAD. A test compares where they lead with `tables`.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

HEAD = "r0004"


def to_head(connection: Connection) -> None:
    """Within the connection's transaction: all of it or nothing. Raises Conflict for a database of a newer version."""
    if inspect(connection).has_table("alembic_version"):
        present = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    else:
        present = None
    if present != HEAD:
        # alembic is imported only where there is something to do: nearly every start finds nothing.
        from control_plane.gateways.state.migrations import steps  # noqa: PLC0415

        steps.climb(connection, present)
