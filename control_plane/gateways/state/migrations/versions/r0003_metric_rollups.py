"""What each revision did, by the second and by the minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metric_rollups",
        sa.Column("resolution_s", sa.Integer, nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("starts_at_s", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("successes", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("took_s", sa.Float, nullable=False),
        sa.Column("generating_s", sa.Float, nullable=False),
        sa.Column("queue_us", sa.BigInteger, nullable=False),
        sa.Column("queued", sa.BigInteger, nullable=False),
        sa.Column("durations", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("resolution_s", "model", "starts_at_s", "revision", name=op.f("pk_metric_rollups")),
    )
    op.create_index(op.f("ix_metric_rollups_starts_at_s"), "metric_rollups", ["resolution_s", "starts_at_s"])
