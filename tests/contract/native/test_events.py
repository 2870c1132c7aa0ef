"""The stream of all events over HTTP: X-EVT-01, C-AUTH-09."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from sse_starlette import sse

from control_plane.domain.access import Role
from control_plane.domain.events import NewEvent, Topic
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.native.working import Told, submitted, told
from tests.contract.served import Served, serving
from tests.doubles.services import World, make_world

EVENTS = "/native/v1/events"
AN_HOUR_S = 3600


def published(world: World, *subjects: str, topic: Topic = Topic.MODEL, kind: str = "loaded", **payload: Any) -> None:
    for subject in subjects:
        world.services.events.publish(NewEvent(topic, subject, kind, payload))


async def first(events: AsyncIterator[Told], count: int) -> list[Told]:
    """Then it leaves."""
    seen: list[Told] = []
    async with aclosing(events) as open_events:  # type: ignore[type-var]
        async for event in open_events:
            seen.append(event)
            if len(seen) == count:
                break
    return seen


async def test_x_evt_01_an_event_says_what_happened_to_what(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world())
    published(http.world, "coder", took_s=1.5)
    (event,) = await first(told(http, EVENTS, after=0), 1)
    assert (event.seq, event.event) == (1, "model")
    assert event.data == {
        "at": "2026-11-21T12:00:00.000Z",
        "topic": "model",
        "subject": "coder",
        "kind": "loaded",
        "payload": {"took_s": 1.5},
    }


async def test_x_evt_01_without_a_place_only_what_comes_now_is_told_and_nothing_of_that_is_missed(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    published(http.world, "before")
    async with http.client.stream("GET", EVENTS, headers=http.viewer) as reply:
        published(http.world, "after")  # as soon as the head of the answer is here
        async for line in reply.aiter_lines():
            if line.startswith("data: "):
                assert json.loads(line.removeprefix("data: "))["subject"] == "after"
                break


async def test_x_evt_01_a_reader_that_comes_back_has_missed_nothing(serve_http: ServeHttp) -> None:
    http = await serve_http(await make_world())
    published(http.world, "a", "b", "c")
    seen = await first(told(http, EVENTS, after=0), 2)
    published(http.world, "d")
    rest = await first(told(http, EVENTS, {"Last-Event-ID": str(seen[-1].seq)}), 2)
    assert [event.data["subject"] for event in seen + rest] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"topic": "model"}, ["coder", "adder"]),
        ({"topic": ["model", "health"]}, ["coder", "adder", "coder:1"]),
        ({"subject": "coder"}, ["coder"]),
        ({"subject": "coder:1", "topic": "health"}, ["coder:1"]),
    ],
)
async def test_x_evt_01_filters_choose_what_is_told(
    serve_http: ServeHttp, query: dict[str, Any], expected: list[str]
) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    published(http.world, "coder", "adder")
    published(http.world, "coder:1", topic=Topic.HEALTH, kind="became_dead")
    seen = await first(told(http, EVENTS, after=0, **query), len(expected))
    assert [event.data["subject"] for event in seen] == expected
    (of_job,) = await first(told(http, EVENTS, after=0, topic="job", subject=job.id), 1)
    assert (of_job.data["kind"], of_job.data["payload"]["model"]) == ("queued", "new")


@pytest.mark.parametrize("query", [{"topic": "weather"}, {"after": -1}, {"after": "x"}, {"after": str(2**63)}])
async def test_x_evt_01_a_question_that_cannot_be_is_refused(http: Served, query: dict[str, Any]) -> None:
    reply = await http.client.get(EVENTS, params=query, headers=http.viewer)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_c_auth_09_an_event_source_brings_its_token_in_the_address(serve_http: ServeHttp) -> None:
    http = await serve_http()
    published(http.world, "coder")
    token = http.world.token(Role.VIEWER)
    async with http.client.stream("GET", EVENTS, params={"token": token, "after": 0}) as reply:
        assert reply.status_code == 200
    for query in ({}, {"token": "nonsense"}):
        refused = await http.client.get(EVENTS, params=query)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHORIZED")


async def test_x_evt_01_a_reader_that_does_not_read_holds_nobody_else_up_and_not_the_stop() -> None:
    world = await two_models()
    async with serving(world) as http:
        asked = f"GET {EVENTS}?token={world.token(Role.VIEWER)}&after=0 HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(http.url.rpartition(":")[2]))) as idle:
            idle.sendall(asked.encode())
            while not world.events.watching:  # noqa: ASYNC110 - the server's side of a socket
                await asyncio.sleep(0.01)
            published(world, *["x" * 1000] * 200, text="y" * 100_000)  # 20 MB: more than sockets hold
            assert len(await first(told(http, EVENTS, after=0), 200)) == 200
            assert world.events.watching >= 1, "it is held back, not dropped"
            world.services.health.stopping.set()
            await http.server.stop(AN_HOUR_S)  # which it would wait for the reader


async def test_x_evt_01_no_task_of_the_library_asks_whether_the_server_stops(serve_http: ServeHttp) -> None:
    http = await serve_http()
    published(http.world, "coder")
    await first(told(http, EVENTS, after=0), 1)
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    assert sse._shutdown_watcher.__qualname__ not in names
