"""Answers kept for idempotency keys, in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert, select

from control_plane.domain.idempotency import Answer, Asked, KeptAnswer
from control_plane.gateways.state.database import SqlDatabase
from control_plane.gateways.state.tables import kept_answers


class SqlAnswerStore:
    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def get(self, scope: str) -> KeptAnswer | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(kept_answers).where(kept_answers.c.scope == scope))).one_or_none()
        if row is None:
            return None
        answer = Answer(row.status, row.media_type, row.body)
        return KeptAnswer(Asked(row.scope, row.fingerprint), answer, row.kept_at)

    async def keep(self, kept: KeptAnswer) -> None:
        columns = {
            "scope": kept.asked.scope,
            "fingerprint": kept.asked.fingerprint,
            "status": kept.answer.status,
            "media_type": kept.answer.media_type,
            "body": kept.answer.body,
            "kept_at": kept.kept_at,
        }
        async with self._database.writing() as connection:
            await connection.execute(delete(kept_answers).where(kept_answers.c.scope == kept.asked.scope))
            await connection.execute(insert(kept_answers).values(columns))

    async def delete_kept(self, before: datetime) -> None:
        async with self._database.writing() as connection:
            await connection.execute(delete(kept_answers).where(kept_answers.c.kept_at <= before))
