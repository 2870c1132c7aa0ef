"""Jobs over HTTP: X-JOB-01."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from control_plane.domain.access import Role
from control_plane.domain.jobs import JobKind
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.native.working import JOBS, Work, submitted, told
from tests.contract.served import Served, serving

AT = "2026-11-21T12:00:00.000Z"
AN_HOUR_S = 3600
ENDED = ["queued", "started", "progress", "completed"]


async def test_x_job_01_a_job_is_told_whole(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    reply = await http.client.get(f"{JOBS}/{job.id}", headers=http.viewer)
    assert reply.status_code == 200
    assert reply.json() == {
        "id": job.id,
        "kind": "import",
        "model": "new",
        "state": "completed",
        "progress": 100.0,
        "step": None,
        "created_at": AT,
        "created_by": "lea",
        "started_at": AT,
        "finished_at": AT,
        "parameters": {"precision": "int8"},
        "result": {"revision": 1},
        "error": None,
    }


async def test_x_job_01_a_failed_job_has_the_error_a_refused_request_would_have(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world, Work(refusal="no recipe for 'mamba'"))
    body = (await http.client.get(f"{JOBS}/{job.id}", headers=http.viewer)).json()
    assert (body["state"], body["result"], body["progress"]) == ("failed", None, 40.0)
    error = {"code": "INVALID_REQUEST", "message": "no recipe for 'mamba'", "details": {"field": "architecture"}}
    assert body["error"] == error
    *_, last = [event async for event in told(http, f"{JOBS}/{job.id}/events")]
    assert (last.event, last.data["error"]) == ("failed", error)


@pytest.mark.parametrize("path", ["", "/events", "/log"])
async def test_x_job_01_an_unknown_job_is_not_found_and_no_stream_begins(http: Served, path: str) -> None:
    reply = await http.client.get(f"{JOBS}/job_none{path}", headers=http.user)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert reply.headers["Content-Type"] == "application/json"


async def test_x_job_01_an_unknown_job_cannot_be_cancelled(http: Served) -> None:
    assert (await http.client.post(f"{JOBS}/job_none/cancel", headers=http.user)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/x"), ("GET", "/x/events"), ("GET", "/x/log"), ("POST", "/x/cancel")]
)
async def test_x_job_01_every_route_needs_a_credential(http: Served, method: str, path: str) -> None:
    assert (await http.client.request(method, JOBS + path)).status_code == 401


@pytest.mark.parametrize(("method", "path"), [("GET", "/x/log"), ("POST", "/x/cancel")])
async def test_c_auth_06_a_viewer_neither_reads_logs_nor_cancels(http: Served, method: str, path: str) -> None:
    assert (await http.client.request(method, JOBS + path, headers=http.viewer)).status_code == 403


async def test_x_job_01_the_list_is_newest_first_filtered_and_paged(serve_http: ServeHttp) -> None:
    http = await serve_http()
    jobs = []
    for number in range(4):
        http.world.clock.advance(1)
        kind = JobKind.EXPORT if number == 3 else JobKind.IMPORT
        jobs.append(await submitted(http.world, Work(refusal="no" if number == 1 else None), kind, f"m{number % 2}"))
    newest = [job.id for job in reversed(jobs)]

    async def listed(**query: Any) -> tuple[list[str], str]:
        reply = await http.client.get(JOBS, params=query, headers=http.viewer)
        return [job["id"] for job in reply.json()], reply.headers["X-Total-Count"]

    assert await listed() == (newest, "4")
    assert await listed(limit=2, skip=1) == (newest[1:3], "4")
    assert await listed(kind="export") == ([newest[0]], "1")
    assert await listed(model="m0") == ([newest[1], newest[3]], "2")
    assert await listed(state="failed") == ([newest[2]], "1")
    assert await listed(state=["failed", "completed"], limit=1) == (newest[:1], "4")
    assert await listed(model="absent") == ([], "0")


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 1001}, {"skip": -1}, {"skip": 2**63}, {"state": "gone"}, {"kind": "x"}, {"limit": "many"}],
)
async def test_x_job_01_a_list_that_cannot_be_is_refused(http: Served, query: dict[str, Any]) -> None:
    reply = await http.client.get(JOBS, params=query, headers=http.viewer)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_x_job_01_events_are_replayed_and_end_with_the_job(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    events = [event async for event in told(http, f"{JOBS}/{job.id}/events")]
    assert [event.event for event in events] == ENDED
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert events[0].data == {"at": AT, "state": "queued", "progress": 0.0, "step": None}
    assert events[2].data == {"at": AT, "state": "running", "progress": 40.0, "step": "converting"}
    assert events[3].data == {
        "at": AT,
        "state": "completed",
        "progress": 100.0,
        "step": None,
        "result": {"revision": 1},
    }


async def test_x_job_01_a_reader_goes_on_after_the_event_it_has_seen(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    path = f"{JOBS}/{job.id}/events"
    seqs = [event.seq async for event in told(http, path)]
    assert [event.seq async for event in told(http, path, {"Last-Event-ID": str(seqs[1])})] == seqs[2:]
    assert [event.seq async for event in told(http, path, after=seqs[2])] == seqs[3:]
    both = told(http, path, {"Last-Event-ID": str(seqs[0])}, after=seqs[2])
    assert [event.seq async for event in both] == seqs[1:], "a browser that reconnects keeps its address"


@pytest.mark.parametrize("beyond", [0, 1000, 2**63 - 1 - 1000])
async def test_x_job_01_who_has_seen_the_end_is_told_to_stop_asking(serve_http: ServeHttp, beyond: int) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    *_, last = [event async for event in told(http, f"{JOBS}/{job.id}/events")]
    reply = await http.client.get(
        f"{JOBS}/{job.id}/events", headers={**http.viewer, "Last-Event-ID": str(last.seq + beyond)}
    )
    assert (reply.status_code, reply.content) == (204, b"")


@pytest.mark.parametrize("last", ["x", "-1", str(2**63), "1.5"])
async def test_x_job_01_a_place_that_cannot_be_is_refused(http: Served, last: str) -> None:
    for headers, query in ({"Last-Event-ID": last}, {}), ({}, {"after": last}):
        reply = await http.client.get(f"{JOBS}/x/events", headers={**http.viewer, **headers}, params=query)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_x_job_01_what_happens_while_one_watches_comes_at_once(serve_http: ServeHttp) -> None:
    http = await serve_http()
    work = Work(hold=True)
    job = await submitted(http.world, work)
    seen = []
    async for event in told(http, f"{JOBS}/{job.id}/events"):
        seen.append(event.event)
        if event.event == "progress":
            work.go_on.set()
    assert seen == ENDED


async def test_x_job_01_a_stream_says_how_it_is_to_be_treated(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    reply = await http.client.get(f"{JOBS}/{job.id}/events", headers=http.viewer)
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert (reply.headers["Cache-Control"], reply.headers["X-Accel-Buffering"]) == ("no-cache", "no")
    assert reply.headers["X-Request-ID"]
    assert reply.text.startswith(": listening\n\n")


async def test_x_job_01_a_reader_that_leaves_frees_everything(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world, Work(hold=True))
    before = len(asyncio.all_tasks())
    async with httpx.AsyncClient(base_url=http.url) as reader:
        leaving = replace(http, client=reader)
        async with aclosing(told(leaving, f"{JOBS}/{job.id}/events")) as events:  # type: ignore[type-var]
            await anext(events)
            assert http.world.events.watching == 1
    async with asyncio.timeout(5):
        while http.world.events.watching or len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - tasks end silently
            await asyncio.sleep(0.01)


async def test_x_job_01_a_stopping_server_ends_the_stream_whole_and_takes_no_new_one() -> None:
    world = await two_models()
    job = await submitted(world, Work(hold=True))
    async with serving(world) as http:
        seen = []
        async for event in told(http, f"{JOBS}/{job.id}/events"):
            seen.append(event.event)
            if event.event == "progress":
                world.services.health.stopping.set()
                await http.server.stop(AN_HOUR_S)  # which it would wait for the job
        assert seen == ENDED[:3]


async def test_x_job_01_a_stopping_server_refuses_to_begin_a_stream(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.services.health.stopping.set()
    for path in (f"{JOBS}/x/events", "/native/v1/events"):
        reply = await http.client.get(path, headers=http.viewer)
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")


async def test_x_job_01_the_end_of_the_log_is_for_who_submitted_the_job_and_for_admins(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    for headers, status in [
        (http.as_role(Role.USER, "lea"), 200),
        (http.admin, 200),
        (http.as_role(Role.USER, "max"), 403),
    ]:
        reply = await http.client.get(f"{JOBS}/{job.id}/log", headers=headers)
        assert reply.status_code == status
    log = await http.client.get(f"{JOBS}/{job.id}/log", params={"lines": 2}, headers=http.admin)
    assert (log.text, log.headers["Content-Type"]) == ("two\nthree\n", "text/plain; charset=utf-8")
    http.world.workspaces.log_file(job.id).unlink()
    assert (await http.client.get(f"{JOBS}/{job.id}/log", headers=http.admin)).text == ""


@pytest.mark.parametrize("lines", [0, 10_001, "all"])
async def test_x_job_01_a_log_has_a_number_of_lines(http: Served, lines: object) -> None:
    reply = await http.client.get(f"{JOBS}/x/log", params={"lines": str(lines)}, headers=http.admin)
    assert reply.status_code == 400


async def test_x_job_01_a_job_is_cancelled_by_its_owner_and_its_watchers_are_told(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world, Work(hold=True))
    path = f"{JOBS}/{job.id}/cancel"
    stranger = await http.client.post(path, headers=http.as_role(Role.USER, "max"))
    assert (stranger.status_code, stranger.json()["error"]["code"]) == (403, "FORBIDDEN")
    reply = await http.client.post(path, headers=http.as_role(Role.USER, "lea"))
    assert (reply.status_code, reply.json()["state"], reply.json()["finished_at"]) == (200, "cancelled", AT)
    *_, last = [event async for event in told(http, f"{JOBS}/{job.id}/events")]
    assert (last.event, last.data["state"]) == ("cancelled", "cancelled")


async def test_x_job_01_a_job_that_is_over_cannot_be_cancelled(serve_http: ServeHttp) -> None:
    http = await serve_http()
    job = await submitted(http.world)
    reply = await http.client.post(f"{JOBS}/{job.id}/cancel", headers=http.admin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "CONFLICT")
    assert reply.json()["error"]["details"] == {"state": "completed"}


async def test_x_met_01_jobs_are_counted(serve_http: ServeHttp) -> None:
    http = await serve_http()
    await submitted(http.world)
    await submitted(http.world, Work(refusal="no"))
    await submitted(http.world, Work(hold=True))
    text = (await http.client.get("/metrics")).text
    assert 'tritonplane_jobs_total{kind="import",state="completed"} 1.0' in text
    assert 'tritonplane_jobs_total{kind="import",state="failed"} 1.0' in text
    assert 'tritonplane_jobs{state="running"} 1.0' in text
    assert 'tritonplane_jobs{state="queued"} 0.0' in text
