"""Records of jobs in SQL, each change together with the event that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from control_plane.domain.errors import Conflict
from control_plane.domain.events import NewEvent, Topic
from control_plane.domain.jobs import Failure, Job, JobFilter, JobKind, JobState
from control_plane.domain.paging import Page, Paged
from control_plane.gateways.state.database import SqlDatabase
from control_plane.gateways.state.events import SqlEvents
from control_plane.gateways.state.tables import events, jobs

_UNFINISHED = jobs.c.state.in_([state.value for state in JobState if not state.is_terminal])
# Set once, by `create`.
_FIXED = {"id", "kind", "model", "created_at", "created_by", "parameters"}


class SqlJobStore:
    def __init__(self, database: SqlDatabase, events: SqlEvents) -> None:
        self._database, self._events = database, events

    async def create(self, job: Job, event: NewEvent) -> None:
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(jobs).values(_columns(job)))
                recorded = await self._events.record(connection, event)
        except IntegrityError as error:
            raise Conflict(f"a job {job.id!r} exists already") from error
        self._events.deliver([recorded])

    async def get(self, job_id: str) -> Job | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(select(jobs).where(jobs.c.id == job_id))).one_or_none()
        return None if row is None else _job(row)

    async def list(self, wanted: JobFilter, page: Page) -> Paged[Job]:
        matching = select(jobs).where(*_conditions(wanted))
        newest = matching.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(page.limit).offset(page.offset)
        async with self._database.reading() as connection:
            total = (await connection.execute(select(func.count()).select_from(matching.subquery()))).scalar_one()
            return Paged([_job(row) for row in await connection.execute(newest)], total)

    async def unfinished(self) -> Sequence[Job]:
        query = select(jobs).where(_UNFINISHED).order_by(jobs.c.created_at, jobs.c.id)
        async with self._database.reading() as connection:
            return [_job(row) for row in await connection.execute(query)]

    async def advance(self, job: Job, event: NewEvent) -> bool:
        changes = {name: value for name, value in _columns(job).items() if name not in _FIXED}
        async with self._database.writing() as connection:
            changed = await connection.execute(update(jobs).where(jobs.c.id == job.id, _UNFINISHED).values(changes))
            if not changed.rowcount:
                return False
            recorded = await self._events.record(connection, event)
        self._events.deliver([recorded])
        return True

    async def delete_finished(self, before: datetime) -> Sequence[str]:
        is_old = jobs.c.finished_at < before
        of_old = events.c.subject.in_(select(jobs.c.id).where(is_old))
        async with self._database.writing() as connection:
            await connection.execute(delete(events).where(events.c.topic == Topic.JOB.value, of_old))
            deleted = list((await connection.execute(delete(jobs).where(is_old).returning(jobs.c.id))).scalars())
        if deleted:
            self._events.forget_recent()
        return deleted


def _conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.kind is not None:
        conditions.append(jobs.c.kind == wanted.kind.value)
    if wanted.model is not None:
        conditions.append(jobs.c.model == wanted.model)
    if wanted.states:
        conditions.append(jobs.c.state.in_(sorted(state.value for state in wanted.states)))
    conditions += [jobs.c.parameters[name].as_string() == value for name, value in wanted.parameters.items()]
    return conditions


def _columns(job: Job) -> dict[str, Any]:
    return {**asdict(job), "kind": job.kind.value, "state": job.state.value}


def _job(row: Row[Any]) -> Job:
    columns = dict(row._mapping)
    failure = columns.pop("failure")
    return Job(
        **{**columns, "kind": JobKind(columns["kind"]), "state": JobState(columns["state"])},
        failure=None if failure is None else Failure(**failure),
    )
