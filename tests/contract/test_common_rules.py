"""What holds on every path, whoever owns it: C-PATH-01, C-VER-01, C-TIME-01."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TIMES = re.compile(r"(.*_)?(at|timestamp|since|time)")
DURATIONS = {"inference_time", "avg_inference_time", "avg_queue_time"} | {f"p{n}_inference_time" for n in (50, 95, 99)}
READ = [
    "/health", "/health/live", "/health/ready", "/models", "/models/coder", "/models/coder/metrics", "/optimizations",
    "/optimize/{job}", "/optimizations/{job}/results", "/native/v1/jobs", "/native/v1/jobs/{job}", "/auth/keys",
    "/native/v1/models/coder/revisions", "/admin/usage", "/admin/audit", "/nope", "/native/v1/nope",
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "envelope"),
    [
        ("/nope", "text"),
        ("/v1/nope", "text"),
        ("/models/coder/nope", "text"),
        ("/graphql/nope", "graphql"),
        ("/v1/ai/nope", "object"),
        ("/api/test/nope", "object"),
        ("/api/sessions/nope", "object"),
        ("/api/v1/nope", "object"),
        ("/openai/v1/nope", "openai"),
        ("/v2/nope", "kserve"),
        ("/auth/nope", "object"),
        ("/admin/nope", "object"),
        ("/native/v1/nope", "object"),
        ("/metrics/nope", "object"),
    ],
)
async def test_c_path_01_what_is_unknown_is_told_in_the_words_of_its_prefix(
    http: Served, path: str, envelope: str
) -> None:
    reply = await http.client.get(path, headers=http.viewer)
    assert (reply.status_code, reply.headers["X-API-Version"]) == (404, "1.0.0")
    body = reply.json()
    found = {
        "text": lambda: (type(body["error"]), body["code"]),
        "object": lambda: (type(body["error"]["message"]), body["error"]["code"]),
        "graphql": lambda: (type(body["errors"][0]["message"]), body["errors"][0]["extensions"]["code"]),
        "openai": lambda: (type(body["error"]["message"]), body["error"]["code"].upper()),
        "kserve": lambda: (type(body["error"]), "NOT_FOUND"),
    }[envelope]()
    assert found == (str, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/models", "/v1/models", "/health", "/graphql", "/native/v1/jobs", "/auth/me"])
async def test_c_path_01_a_trailing_slash_is_another_path(http: Served, path: str) -> None:
    reply = await http.client.get(f"{path}/", headers=http.admin, follow_redirects=False)
    assert reply.status_code == 404


def times_in(told: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(told, list):
        for one in told:
            yield from times_in(one)
    elif isinstance(told, dict):
        for name, value in told.items():
            if TIMES.fullmatch(name) and name not in DURATIONS and value is not None:
                yield name, value
            yield from times_in(value)


async def test_c_time_01_every_time_is_utc_to_the_millisecond(serve_http: ServeHttp) -> None:
    http = await serve_http(await two_models())
    body = {"model_id": "coder", "optimization_level": "basic"}
    job = (await http.client.post("/optimize", json=body, headers=http.admin)).json()["optimization_id"]
    await http.world.services.jobs.wait(job)
    await http.client.post("/auth/keys", json={"name": "n", "role": "user"}, headers=http.admin)
    seen = 0
    for path in READ:
        reply = await http.client.get(path.format(job=job), headers=http.admin)
        for name, value in times_in(reply.json()):
            assert MOMENT.fullmatch(value), f"{path}: {name} is {value!r}"
            seen += 1
    events = await http.client.get(f"/native/v1/jobs/{job}/events?after=0", headers=http.admin)
    for line in events.text.splitlines():
        if line.startswith("data:"):
            assert MOMENT.fullmatch(json.loads(line.removeprefix("data:"))["at"])
            seen += 1
    assert seen > 30
