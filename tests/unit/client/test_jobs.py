"""Jobs and events through both clients, over connections that break."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from tritonplane_client import (
    ApiClient,
    AsyncApiClient,
    ConflictError,
    ConnectionFailed,
    NotFoundError,
    UnexpectedAnswer,
)
from tritonplane_client.operations import watch_job
from tritonplane_client.watching import FrameReader, Watch, job_watch

from tests.doubles.plane import KEY, Miniature, refusal
from tests.unit.client.both import Face

WHOLE = ["queued", "started", "progress", "progress", "progress", "completed"]


async def watched(client: Face, method: str, *args: Any, **options: Any) -> list[Any]:
    return [event async for event in client.follow(method, *args, **options)]


async def test_jobs_are_listed_got_cancelled_and_their_logs_read(client: Face, plane: Miniature) -> None:
    assert [job["id"] for job in await client.call("list_jobs", state="failed")] == ["job_bad"]
    both = await client.call("list_jobs", kind="import", model="new", state=["failed", "running"], skip=0, limit=5)
    assert [job["id"] for job in both] == ["job_bad", "job_endless"]
    assert plane.seen[-1].query == {"kind": "import", "model": "new", "state": "running", "skip": "0", "limit": "5"}
    assert (await client.call("get_job", "job_bad"))["error"]["message"] == "no recipe for 'mamba'"
    assert (await client.call("job_log", "job_1", 5)).startswith("converting\n")
    assert plane.seen[-1].query == {"lines": "5"}
    assert (await client.call("cancel_job", "job_endless"))["state"] == "cancelled"
    with pytest.raises(ConflictError):
        await client.call("cancel_job", "job_1")


async def test_a_job_is_watched_from_its_first_event_to_its_last(client: Face) -> None:
    events = await watched(client, "watch_job", "job_1")
    assert [event["kind"] for event in events] == WHOLE
    assert [event["seq"] for event in events] == list(range(11, 17))
    assert events[4]["step"] == "checking\u2028é"
    assert events[-1]["result"]["revision"] == 1


async def test_a_watch_begins_after_a_number_and_has_nothing_to_tell_after_the_last(client: Face) -> None:
    assert [event["seq"] for event in await watched(client, "watch_job", "job_1", after=14)] == [15, 16]
    assert await watched(client, "watch_job", "job_1", after=16) == []


@pytest.mark.parametrize("job_id", ["job_cut", "job_end"])
async def test_a_watch_goes_on_where_a_connection_broke(
    client: Face, plane: Miniature, job_id: str, no_waiting: None
) -> None:
    events = await watched(client, "watch_job", job_id)
    assert [event["seq"] for event in events] == list(range(11, 17))
    assert [seen.headers.get("last-event-id") for seen in plane.seen] == [None, "12", "14"]


async def test_a_job_that_nobody_knows_is_raised_at_once(client: Face, plane: Miniature) -> None:
    with pytest.raises(NotFoundError):
        await watched(client, "watch_job", "job_none")
    assert len(plane.seen) == 1


async def test_a_server_that_never_answered_is_not_waited_for(no_waiting: None) -> None:
    async with AsyncApiClient("http://127.0.0.1:9", KEY) as client:
        with pytest.raises(ConnectionFailed):
            await anext(client.watch_job("job_1"))


async def test_a_refusal_that_passes_is_waited_out_once_the_watch_has_begun(
    client: Face, plane: Miniature, no_waiting: None
) -> None:
    seen = []
    async for event in client.follow("watch_job", "job_cut"):
        if event["seq"] == 12:  # the next connections meet a server that is starting
            plane.refusals = [refusal(503, "stopping", "PIPELINE_UNAVAILABLE")] * 3
        seen.append(event["seq"])
    assert seen == list(range(11, 17))


async def test_waiting_for_a_job_returns_it_whatever_became_of_it(client: Face) -> None:
    assert (await client.call("wait_job", "job_1"))["state"] == "completed"
    assert (await client.call("wait_job", "job_bad"))["error"]["code"] == "UNSUPPORTED_FORMAT"


async def test_leaving_a_watch_is_seen_by_the_server(client: Face, plane: Miniature) -> None:
    async with aclosing(client.follow("watch_job", "job_endless")) as events:  # type: ignore[type-var]
        async for event in events:
            if event["seq"] == 15:
                break
    assert await asyncio.to_thread(plane.stream_left.wait, 5)


async def test_events_go_on_over_broken_connections(client: Face, plane: Miniature, no_waiting: None) -> None:
    seen = []
    async with aclosing(client.follow("events", ["model", "health", "job"], subject="x", after=0)) as events:  # type: ignore[type-var]
        async for event in events:
            seen.append(event)
            if len(seen) == 3:
                break
    assert [(event["seq"], event["topic"], event["kind"]) for event in seen] == [
        (1, "model", "loaded"),
        (2, "job", "queued"),
        (3, "health", "became_dead"),
    ]
    assert plane.seen[0].query == {"topic": "job", "subject": "x"}, "the last of several is what a dict keeps"


def test_patience_ends_and_the_last_failure_is_raised() -> None:
    watch: Watch[Any] = job_watch(watch_job("job_1", None), patience_s=1)
    watch.begin(200)
    list(watch.feed(b": listening\n\n"))
    failure = ConnectionFailed("nobody there")
    waits = [watch.wait_s(failure), watch.wait_s(failure)]
    assert waits == [0.25, 0.5], "each wait is twice the last"
    with pytest.raises(ConnectionFailed):
        watch.wait_s(failure)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 1000])
def test_frames_are_read_however_the_network_cuts_them(width: int) -> None:
    wire = (
        ': ping\r\n\r\nid: 7\r\nevent: progress\r\ndata: {"step":"a\u2028é"}\r\n\r\nid:8\nevent:x\ndata:{}\n\nid: 9\n\n'
    )
    raw, reader, frames = wire.encode(), FrameReader(), []
    for at in range(0, len(raw), width):
        frames += reader.feed(raw[at : at + width])
    assert [(frame.seq, frame.name, frame.told) for frame in frames] == [
        (7, "progress", {"step": "a\u2028é"}),
        (8, "x", {}),
    ]


@pytest.mark.parametrize(
    "wire", [b"id: 7\nevent: x\ndata: <html>\n\n", b"data: {}\n\n", b"id: a\nevent: x\ndata: {}\n\n"]
)
def test_an_event_of_another_kind_of_server_is_an_unexpected_answer(wire: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        list(FrameReader().feed(wire))


def test_a_watch_allows_for_the_silence_between_signs_of_life() -> None:
    with ApiClient("http://x", KEY, timeout=1) as client:
        options = client._connection.request_options(watch_job("job_1", 5))
    assert options["timeout"].read == 45
    assert options["headers"]["Last-Event-ID"] == "5"
