"""Jobs: list, watch, cancel (X-JOB-01)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Depends, Query, Response
from sse_starlette.event import ServerSentEvent

from control_plane.dialects.native.protocol import FailureInfo, JobInfo
from control_plane.domain.events import Event
from control_plane.domain.jobs import Failure, Job, JobFilter, JobKind, JobState
from control_plane.domain.paging import LIMIT_MAX, Page
from control_plane.edge.http.event_streams import EventStream, frame, resumed_after, stream_responses
from control_plane.edge.http.log_tails import LINES_DEFAULT, LINES_MAX, last_lines
from control_plane.edge.http.routing import Inferrer, Routes, ServicesDep, Viewer
from control_plane.edge.http.schemas import refusals
from control_plane.edge.refusals import stopping
from control_plane.edge.times import rfc3339

routes = Routes("Jobs")
_TOLD = ("state", "progress", "step", "result", "error")  # of an event's payload; the rest is in the job itself


def parsed_filter(
    kind: JobKind | None = None,
    model: str | None = None,
    state: Annotated[list[JobState] | None, Query(description="may be given several times")] = None,
) -> JobFilter:
    return JobFilter(kind, model, frozenset(state or ()))


def parsed_page(
    skip: Annotated[int, Query(json_schema_extra={"minimum": 0})] = 0,
    limit: Annotated[int, Query(json_schema_extra={"minimum": 1, "maximum": LIMIT_MAX})] = 100,
) -> Page:
    return Page(limit, skip)


@routes.get("/native/v1/jobs", summary="List jobs")
async def list_jobs(
    wanted: Annotated[JobFilter, Depends(parsed_filter)],
    page: Annotated[Page, Depends(parsed_page)],
    response: Response,
    caller: Viewer,
    services: ServicesDep,
) -> list[JobInfo]:
    """Newest first; `X-Total-Count` counts all that match. A job is kept for 30 days after its end."""
    jobs = await services.jobs.list(wanted, page)
    response.headers["X-Total-Count"] = str(jobs.total)
    return [job_info(job) for job in jobs.items]


@routes.get("/native/v1/jobs/{job_id}", summary="Get a job", responses=refusals(404))
async def get_job(job_id: str, caller: Viewer, services: ServicesDep) -> JobInfo:
    return job_info(await services.jobs.get(job_id))


@routes.get(
    "/native/v1/jobs/{job_id}/events",
    summary="Watch a job",
    response_class=Response,
    responses={
        **stream_responses(
            'id: 7\nevent: progress\ndata: {"at":"2026-11-21T12:00:00.000Z","state":"running","progress":40.0,'
            '"step":"converting"}\n\n'
        ),
        204: {"description": "The job is over, and all of its events come before `after`"},
        **refusals(404),
    },
)
async def watch_job(
    job_id: str, after: Annotated[int | None, Depends(resumed_after)], caller: Viewer, services: ServicesDep
) -> Response:
    """Its events from the first on, then each as it comes; ends after `completed`, `failed` or `cancelled`.

    `event` is what happened: also `queued`, `started`, `progress`, and `resumed` by the next server. A stream that ends
    with none of the three was cut.
    """
    if services.health.is_stopping:
        raise stopping()
    job = await services.jobs.get(job_id)
    events = services.jobs.watch(job_id, after or 0)
    if job.state.is_terminal:
        first = await anext(events, None)
        if first is None:  # 204 is what tells a browser not to ask again
            return Response(status_code=204)
        events = _resumed(first, events)
    return EventStream(events, _frame, services.health.stopping)


@routes.get(
    "/native/v1/jobs/{job_id}/log",
    summary="Read a job's log",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals(404)},
)
async def read_log(
    job_id: str,
    caller: Inferrer,
    services: ServicesDep,
    lines: Annotated[int, Query(ge=1, le=LINES_MAX, description="the last so many")] = LINES_DEFAULT,
) -> Response:
    """What the job's processes wrote, for who submitted it and for admins."""
    path = await services.jobs.log_file(job_id, caller)
    return Response(await asyncio.to_thread(last_lines, path, lines), media_type="text/plain")


@routes.post("/native/v1/jobs/{job_id}/cancel", summary="Cancel a job", responses=refusals(404, 409))
async def cancel_job(job_id: str, caller: Inferrer, services: ServicesDep) -> JobInfo:
    """For who submitted it and for admins. Answers when its work has ended and nothing of it is left."""
    return job_info(await services.jobs.cancel(job_id, caller))


def job_info(job: Job) -> JobInfo:
    return JobInfo.model_validate(
        {
            "id": job.id,
            "kind": job.kind,
            "model": job.model,
            "state": job.state,
            "progress": job.progress,
            "step": job.step,
            "created_at": job.created_at,
            "created_by": job.created_by,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "parameters": job.parameters,
            "result": job.result,
            "error": job.failure and _failure_info(job.failure),
        }
    )


def _failure_info(failure: Failure) -> FailureInfo:
    return FailureInfo.model_validate({"code": failure.code, "message": failure.message, "details": failure.details})


def _frame(event: Event) -> ServerSentEvent:
    told: dict[str, Any] = {name: event.payload[name] for name in _TOLD if name in event.payload}
    return frame(event, event.kind, {"at": rfc3339(event.at), **told})


async def _resumed(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    try:
        yield first
        async for event in rest:
            yield event
    finally:
        await rest.aclose()
