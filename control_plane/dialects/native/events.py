"""The stream of all that happens: models, revisions, health, jobs (X-EVT-01)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Response
from sse_starlette.event import ServerSentEvent

from control_plane.domain.events import Event, EventFilter, Topic
from control_plane.edge.http.event_streams import EventStream, frame, resumed_after, stream_responses
from control_plane.edge.http.routing import Routes, ServicesDep, Viewer
from control_plane.edge.refusals import stopping
from control_plane.edge.times import rfc3339

routes = Routes("Events")


def parsed_filter(
    topic: Annotated[list[Topic] | None, Query(description="may be given several times; all if left out")] = None,
    subject: Annotated[str | None, Query(description="a model's name, a revision as `name:N`, or a job's id")] = None,
) -> EventFilter:
    return EventFilter(frozenset(topic or ()), subject)


@routes.get(
    "/native/v1/events",
    summary="Watch everything",
    response_class=Response,
    responses=stream_responses(
        'id: 12\nevent: model\ndata: {"at":"2026-11-21T12:00:00.000Z","topic":"model","subject":"coder",'
        '"kind":"loaded","payload":{}}\n\n'
    ),
)
async def watch_events(
    wanted: Annotated[EventFilter, Depends(parsed_filter)],
    after: Annotated[int | None, Depends(resumed_after)],
    caller: Viewer,
    services: ServicesDep,
) -> Response:
    """What happened after `after`, if that is said, then each event as it comes; goes on until either side leaves.

    `event` is the topic. `after=0` tells all that is still kept.
    """
    if services.health.is_stopping:
        raise stopping()
    return EventStream(services.events.watch(wanted, after), _frame, services.health.stopping)


def _frame(event: Event) -> ServerSentEvent:
    told = {
        "at": rfc3339(event.at),
        "topic": event.topic.value,
        "subject": event.subject,
        "kind": event.kind,
        "payload": event.payload,
    }
    return frame(event, event.topic.value, told)
