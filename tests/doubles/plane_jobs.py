"""The jobs and events of the tritonplane in miniature; a job's id names its misbehaviour."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

AT = "2026-11-21T12:00:00.000Z"
ERROR = {"code": "UNSUPPORTED_FORMAT", "message": "no recipe for 'mamba'", "details": {"architecture": "mamba"}}
RUNNING = {"at": AT, "state": "running", "progress": 0.0, "step": None}
STORY: list[tuple[str, dict[str, Any]]] = [
    ("queued", {"at": AT, "state": "queued", "progress": 0.0, "step": None}),
    ("started", RUNNING),
    ("progress", {**RUNNING, "progress": 40.0, "step": "converting"}),
    ("progress", {**RUNNING, "progress": 41.0, "step": "converting"}),
    ("progress", {**RUNNING, "progress": 90.0, "step": "checking\u2028é"}),
]
ENDS: dict[str, dict[str, Any]] = {
    "completed": {
        **{"at": AT, "state": "completed", "progress": 100.0, "step": None},
        "result": {"revision": 1, "format": "onnx", "size_bytes": 4096, "export_id": "exp_1"},
    },
    "failed": {"at": AT, "state": "failed", "progress": 90.0, "step": None, "error": ERROR},
    "cancelled": {"at": AT, "state": "cancelled", "progress": 90.0, "step": None},
}
ENDLESS = ("job_endless", "opt_endless")
HAPPENED = [
    {"at": AT, "topic": "model", "subject": "coder", "kind": "loaded", "payload": {"took_s": 1.5}},
    {"at": AT, "topic": "job", "subject": "job_1", "kind": "queued", "payload": {}},
    {"at": AT, "topic": "health", "subject": "coder:1", "kind": "became_dead", "payload": {}},
]


class MiniatureJobs:
    """`job_1` completes, `job_bad` fails. `job_cut` completes, but each connection breaks after two events; `job_end`
    likewise, but it ends as if all were said. `job_endless` goes on until the client leaves or cancels it. Those named
    `opt_` are of plane_optimizations.py, and in no list of jobs.

    The first number of a job's events is 11. `/native/v1/events` breaks after two.
    """

    def __init__(self, left: threading.Event) -> None:
        self.left = left
        self.states = {
            "job_1": "completed",
            "job_bad": "failed",
            "job_cut": "completed",
            "job_end": "completed",
            "job_endless": "running",
            "opt_1": "completed",
            "opt_baseline": "completed",
            "opt_bad": "failed",
            "opt_endless": "running",
        }

    def routes(self) -> list[Route]:
        jobs = "/native/v1/jobs"
        return [
            Route(jobs, self._list),
            Route(f"{jobs}/{{id}}", self._get),
            Route(f"{jobs}/{{id}}/events", self._watch),
            Route(f"{jobs}/{{id}}/log", self._log),
            Route(f"{jobs}/{{id}}/cancel", self._cancel, methods=["POST"]),
            Route("/native/v1/events", self._events),
        ]

    async def _list(self, request: Request) -> Response:
        wanted = request.query_params.getlist("state")
        found = [self._job(job_id) for job_id, state in self._listed() if not wanted or state in wanted]
        return JSONResponse(found, headers={"X-Total-Count": str(len(found))})

    def _listed(self) -> list[tuple[str, str]]:
        return [(job_id, state) for job_id, state in self.states.items() if job_id.startswith("job_")]

    async def _get(self, request: Request) -> Response:
        return self._missing(request) or JSONResponse(self._job(request.path_params["id"]))

    async def _log(self, request: Request) -> Response:
        return self._missing(request) or PlainTextResponse("converting\nan escape \x1b[2J\n")

    async def _cancel(self, request: Request) -> Response:
        job_id = request.path_params["id"]
        missing = self._missing(request)
        if missing is not None:
            return missing
        if self.states[job_id] != "running":
            return _refusal(409, f"the job is over: {self.states[job_id]}", "CONFLICT")
        self.states[job_id] = "cancelled"
        return JSONResponse(self._job(job_id))

    async def _watch(self, request: Request) -> Response:
        missing = self._missing(request)
        if missing is not None:
            return missing
        job_id, after = request.path_params["id"], _after(request)
        end = self.states[job_id]
        story = STORY + ([(end, ENDS[end])] if end in ENDS else [])
        events = [(seq, name, told) for seq, (name, told) in enumerate(story, 11) if seq > after]
        if not events and job_id not in ENDLESS:
            return Response(status_code=204)
        return StreamingResponse(self._told(job_id, events), media_type="text/event-stream")

    async def _told(self, job_id: str, events: list[tuple[int, str, dict[str, Any]]]) -> AsyncIterator[bytes]:
        yield b": listening\n\n"
        for number, event in enumerate(events):
            if number == 2 and job_id == "job_cut":
                raise ConnectionResetError("cut on purpose")
            if number == 2 and job_id == "job_end":
                return
            async for piece in _frame(*event):
                yield piece
        try:
            while job_id in ENDLESS and self.states[job_id] == "running":
                yield b": ping\n\n"
                await asyncio.sleep(0.01)
            if job_id in ENDLESS:
                async for piece in _frame(99, "cancelled", ENDS["cancelled"]):
                    yield piece
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def _events(self, request: Request) -> Response:
        topics, after = request.query_params.getlist("topic"), _after(request)
        wanted = [
            (seq, happened["topic"], happened)
            for seq, happened in enumerate(HAPPENED, 1)
            if seq > after and (not topics or happened["topic"] in topics)
        ]
        return StreamingResponse(self._told("job_cut" if len(wanted) > 2 else "", wanted), 200)  # type: ignore[arg-type]

    def _job(self, job_id: str) -> dict[str, Any]:
        state = self.states[job_id]
        end = ENDS.get(state, STORY[-1][1])
        kind = "optimize" if job_id.startswith("opt_") else "import"
        return {
            "id": job_id, "kind": kind, "model": "new", "state": state, "progress": end["progress"],
            "step": end["step"], "created_at": AT, "created_by": "lea", "started_at": AT, "finished_at": AT,
            "parameters": {"precision": "int8"}, "result": end.get("result"), "error": end.get("error"),
        }  # fmt: skip

    def _missing(self, request: Request) -> Response | None:
        job_id = request.path_params["id"]
        return None if job_id in self.states else _refusal(404, f"no job {job_id!r}", "NOT_FOUND")


async def _frame(seq: int, name: str, told: Any) -> AsyncIterator[bytes]:
    whole = f"id: {seq}\nevent: {name}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n".encode()
    # Cut in the middle of a line: the network may do so too.
    yield whole[: len(whole) // 2]
    await asyncio.sleep(0.001)
    yield whole[len(whole) // 2 :]


def _after(request: Request) -> int:
    return int(request.headers.get("last-event-id") or request.query_params.get("after") or 0)


def _refusal(status: int, message: str, code: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message, "details": {}, "request_id": "r-1"}}, status)
