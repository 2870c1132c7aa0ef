"""What alembic runs for every migration; the connection is handed in by `to_head`, so no alembic.ini is needed."""

from __future__ import annotations

from alembic import context

from control_plane.gateways.state.tables import metadata

# SQLite can alter hardly anything in place: "batch" copies the table.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
