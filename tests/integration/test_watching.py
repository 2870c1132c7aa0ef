"""Jobs and events of the real server, watched: by a client, by a browser's rules, over a kill, to the server's end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse
from tritonplane_client import AsyncApiClient
from websockets.asyncio.client import connect

from tests.product import TRITONPLANE, ServerProcess

MLP = Path(__file__).parents[1] / "fixtures" / "mlp" / "model.onnx"
JOBS, EVENTS = "/native/v1/jobs", "/native/v1/events"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("watching") / "state").start().wait_ready()
    yield server
    assert server.process is not None
    if server.process.poll() is None:
        server.kill()


@pytest.fixture
async def http(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as http:
        yield http


async def submitted(http: httpx.AsyncClient, name: str) -> str:
    """The id of a job that imports a small model."""
    reply = await http.post(f"/native/v1/models/{name}/revisions", files={"file": ("model.onnx", MLP.read_bytes())})
    assert reply.status_code == 202, reply.text
    job_id: str = reply.json()["job_id"]
    return job_id


async def read(source: EventSource, count: int | None = None) -> list[ServerSentEvent]:
    """Events with data, so many or all."""
    seen: list[ServerSentEvent] = []
    async with aclosing(source.aiter_sse()) as events:  # type: ignore[type-var]
        async for event in events:
            seen += [event] if event.data else []
            if len(seen) == count:
                break
    return seen


async def test_x_job_01_a_client_watches_a_job_that_runs(server: ServerProcess, http: httpx.AsyncClient) -> None:
    async with AsyncApiClient(server.url, server.admin_key) as client:
        job_id = await submitted(http, "watched")
        events = [event async for event in client.watch_job(job_id)]
        job = await client.get_job(job_id)
        [listed] = await client.list_jobs(model="watched")
        log = await client.job_log(job_id)
    assert [event["kind"] for event in events][:2] == ["queued", "started"]
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    progress = [event["progress"] for event in events]
    assert progress == sorted(progress)
    assert (events[-1]["kind"], events[-1]["progress"]) == ("completed", 100)
    assert (job["state"], job["result"]) == ("completed", events[-1]["result"])
    assert (job["model"], job["error"], listed["id"]) == ("watched", None, job_id)
    assert isinstance(log, str)
    metrics = (await http.get("/metrics")).text
    assert 'tritonplane_jobs_total{kind="import",state="completed"}' in metrics


async def test_x_job_01_a_browsers_event_source_resumes_and_then_is_told_to_stop(http: httpx.AsyncClient) -> None:
    """What the HTML standard has an EventSource do: a token in the address, the last id in a header, an end at 204."""
    job_id = await submitted(http, "resumed")
    token = (await http.post("/auth/token", json={"sub": "browser", "role": "viewer"})).json()["access_token"]
    async with httpx.AsyncClient(base_url=str(http.base_url), timeout=60) as browser:
        address = {"url": f"{JOBS}/{job_id}/events", "params": {"token": token}}
        async with aconnect_sse(browser, "GET", **address) as source:  # type: ignore[arg-type]
            [first] = await read(source, 1)
        again = {**address, "headers": {"Last-Event-ID": first.id}}
        async with aconnect_sse(browser, "GET", **again) as source:  # type: ignore[arg-type]
            rest = await read(source)
        at_its_end = await browser.get(**{**address, "headers": {"Last-Event-ID": rest[-1].id}})  # type: ignore[arg-type]
        whole = await browser.get(**address)  # type: ignore[arg-type]
    assert [first.event, rest[0].event, rest[-1].event] == ["queued", "started", "completed"]
    ids = [event.id for event in [first, *rest]]
    assert [line.removeprefix("id: ") for line in whole.text.splitlines() if line.startswith("id: ")] == ids
    assert at_its_end.status_code == 204


async def test_x_job_01_the_command_line_watches_and_lists_jobs(server: ServerProcess, http: httpx.AsyncClient) -> None:
    job_id = await submitted(http, "by-command")
    environment = {**server.environment(), "TRITONPLANE_URL": server.url}

    async def run(*arguments: str) -> tuple[int | None, str, str]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            TRITONPLANE, "jobs", *arguments, env=environment, stdout=pipe, stderr=pipe
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    code, out, err = await run("watch", job_id)
    assert (code, out) == (0, "completed import of by-command\n"), err
    assert err.splitlines()[-1] == "100% completed"
    code, out, _ = await run("list", "--model", "by-command", "--json")
    assert (code, [job["state"] for job in json.loads(out)]) == (0, ["completed"])
    code, out, err = await run("cancel", job_id)
    assert (code, out, err) == (1, "", "tritonplane: the job is over: completed (CONFLICT)\n")


async def test_x_evt_01_a_follower_misses_nothing_over_a_kill_of_the_server(
    server: ServerProcess, http: httpx.AsyncClient
) -> None:
    job_id = await submitted(http, "before")
    seen: list[Any] = []
    async with AsyncApiClient(server.url, server.admin_key) as client:
        async with aclosing(client.events(["job"], after=0)) as events:
            async for event in events:
                seen.append(event)
                if (event["kind"], event["payload"]["model"]) == ("completed", "before"):
                    server.kill()
                    await asyncio.to_thread(lambda: server.start().wait_ready())
                    job_id = await submitted(http, "after")
                if (event["kind"], event["payload"]["model"]) == ("completed", "after"):
                    break
        numbers = [event["seq"] for event in seen]
        told = [event["seq"] for event in seen if event["subject"] == job_id]
        assert told == [event["seq"] async for event in client.watch_job(job_id)]
    assert numbers == sorted(set(numbers))


async def test_x_evt_01_a_stopping_server_ends_its_streams_at_once_and_exits_cleanly(server: ServerProcess) -> None:
    """The last of this file: the server is gone afterwards."""
    assert server.process is not None
    async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=60) as http:
        began = [asyncio.Event() for _ in range(20)]

        async def follow(start: asyncio.Event) -> float:
            async with http.stream("GET", EVENTS, headers=server.headers) as reply:
                async for _ in reply.aiter_bytes():
                    start.set()
            return time.monotonic()

        async def hold(start: asyncio.Event) -> float:
            address = f"{server.url.replace('http', 'ws')}/ws"
            async with connect(address, additional_headers=server.headers, proxy=None) as socket:
                start.set()
                told = [json.loads(message)["type"] async for message in socket]
            assert (told, socket.close_code) == (["server_shutdown"], 1001)
            return time.monotonic()

        followers = [asyncio.create_task(follow(start)) for start in began[:15]]
        followers += [asyncio.create_task(hold(start)) for start in began[15:]]
        await asyncio.gather(*(start.wait() for start in began))
        server.process.send_signal(signal.SIGTERM)
        asked_at = time.monotonic()
        ends = await asyncio.gather(*followers)
    assert max(ends) - asked_at < 10  # a stop waits 30 s for what may finish
    assert await asyncio.to_thread(server.process.wait, 30) == 0
    assert "Traceback" not in server.log
