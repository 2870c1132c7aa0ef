"""The tables as the present version of the product has them; `migrations` leads there from any older one."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

# Named constraints can be altered by a later migration; PostgreSQL and SQLite would each make up their own.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite itself keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


models = Table(
    "models",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("is_builtin", Boolean, nullable=False),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", ForeignKey(models.c.name, ondelete="CASCADE"), primary_key=True),
    Column("alias", String(100), primary_key=True),
    Column("revision", Integer, nullable=False),
)

desired_revisions = Table(
    "desired_revisions",
    metadata,
    Column("model", ForeignKey(models.c.name, ondelete="CASCADE"), primary_key=True),
    Column("revision", Integer, primary_key=True),
)

# No foreign key: the numbers of a deleted model stay used.
revision_numbers = Table(
    "revision_numbers",
    metadata,
    Column("model", String(100), primary_key=True),
    Column("last", Integer, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("role", String(10), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("rate_limit_policy", String(100)),
    Column("expires_at", UtcDateTime),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("model", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("state", String(10), nullable=False),
    Column("progress", Float, nullable=False),
    Column("step", Text),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("result", JSON(none_as_null=True)),
    Column("failure", JSON(none_as_null=True)),
)
Index("ix_jobs_created_at", jobs.c.created_at, jobs.c.id)
Index("ix_jobs_state", jobs.c.state)

# `seq` is never given twice, even when the newest events are purged: who reads after it would miss what follows.
events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("topic", String(20), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("payload", JSON, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_events_subject", events.c.subject, events.c.seq)

# A row for each second (`resolution_s` 1) and each minute (60) in which a revision had traffic; gateways/state/metrics
# says what `durations` holds.
metric_rollups = Table(
    "metric_rollups",
    metadata,
    Column("resolution_s", Integer, primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("starts_at_s", BigInteger, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("successes", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("took_s", Float, nullable=False),
    Column("generating_s", Float, nullable=False),
    Column("queue_us", BigInteger, nullable=False),
    Column("queued", BigInteger, nullable=False),
    Column("durations", LargeBinary, nullable=False),
)
Index("ix_metric_rollups_starts_at_s", metric_rollups.c.resolution_s, metric_rollups.c.starts_at_s)

# `scope` and `fingerprint` are hashes: neither keys of callers nor what they asked can be read here.
kept_answers = Table(
    "kept_answers",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("media_type", String(100), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("kept_at", UtcDateTime, nullable=False),
)
Index("ix_kept_answers_kept_at", kept_answers.c.kept_at)
