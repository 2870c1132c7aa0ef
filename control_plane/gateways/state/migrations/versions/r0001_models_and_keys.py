"""Models with their aliases, desired and used revisions; API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("is_builtin", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_models")),
    )
    _create_revision_tables()
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("rate_limit_policy", sa.String(100)),
        sa.Column("expires_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )


def _create_revision_tables() -> None:
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("alias", sa.String(100), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("model", "alias", name=op.f("pk_aliases")),
        sa.ForeignKeyConstraint(["model"], ["models.name"], op.f("fk_aliases_model_models"), ondelete="CASCADE"),
    )
    op.create_table(
        "desired_revisions",
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("model", "revision", name=op.f("pk_desired_revisions")),
        sa.ForeignKeyConstraint(
            ["model"], ["models.name"], op.f("fk_desired_revisions_model_models"), ondelete="CASCADE"
        ),
    )
    op.create_table(
        "revision_numbers",
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("last", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_revision_numbers")),
    )
