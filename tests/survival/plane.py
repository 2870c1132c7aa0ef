"""A server that is killed and started again on one state directory, and what must be true of it in between."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.product import NO_TLS, ServerProcess
from tests.survival.sources import Source
from tests.survival.whole import faults_on_disk, steps_left

ENDS = ("completed", "failed", "cancelled")
ENDED_WITHIN_S = 180.0  # a conversion on a busy machine, begun anew
FORGOTTEN_WITHIN_S = 10.0


@dataclass(frozen=True)
class Mark:
    """An event of a job: when it was seen, since the import was begun; `what` is its kind and step in one text."""

    at_s: float
    what: str


@dataclass
class Plane:
    """`duration_s` and `marks` of an undisturbed import are known of each source that `learn` was called for.

    `unloads` what it has asked: a server that starts again does so with all that was loaded.
    """

    server: ServerProcess
    unloads: bool = True
    marks: dict[str, list[Mark]] = field(default_factory=dict)
    _unloading: list[Future[None]] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @property
    def state(self) -> Path:
        return self.server.state_dir

    def learn(self, source: Source) -> None:
        """Import it undisturbed, and see that it answers."""
        began = time.monotonic()
        with self.server.client() as http:
            job_id = source.submit(http, source.name)
            self.marks[source.name] = [Mark(time.monotonic() - began, what) for what, _ in self.watch(job_id)]
        self.check(source, source.name)

    def duration_s(self, source: Source) -> float:
        return self.marks[source.name][-1].at_s

    def start(self) -> float:
        """Seconds until it was ready."""
        began = time.monotonic()
        self.server.start()
        self._allow_core_dumps()
        self.server.wait_ready()
        return time.monotonic() - began

    def core_dumps(self) -> list[Path]:
        """Of Triton and its stubs, which work in the state directory, where the kernel writes them there."""
        return sorted(self.state.glob("core*"))

    def _allow_core_dumps(self) -> None:
        assert self.server.process is not None
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.prlimit(self.server.process.pid, resource.RLIMIT_CORE, (hard, hard))

    def family(self) -> list[psutil.Process]:
        assert self.server.process is not None
        return psutil.Process(self.server.process.pid).children(recursive=True)

    def kill(self) -> list[psutil.Process]:
        """SIGKILL; who its descendants were."""
        family = self.family()
        self.server.kill()
        return family

    def watch(self, job_id: str) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """Its events from the first to the one that ends it: kind and step in one text, and the payload."""
        options = httpx.Timeout(10, read=ENDED_WITHIN_S)
        url = f"{self.server.url}/native/v1/jobs/{job_id}/events"
        with httpx.stream("GET", url, headers=self.server.headers, timeout=options, verify=NO_TLS) as reply:
            kind = ""
            for line in reply.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                if line.startswith("data: "):
                    payload = json.loads(line.removeprefix("data: "))
                    yield f"{kind} {payload.get('step') or ''}".strip(), payload
                    if kind in ENDS:
                        return

    def wait_for(self, job_id: str, what: str) -> None:
        """Until a job has had an event, or is over."""
        with closing(self.watch(job_id)) as events:
            next((seen for seen, _ in events if seen == what), None)

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it is over, which it must be some day, with one event that ends it."""
        kinds = [what.split()[0] for what, _ in self.watch(job_id)]
        assert [kind for kind in kinds if kind in ENDS] == kinds[-1:], kinds
        with self.server.client() as http:
            job = dict(http.get(f"/native/v1/jobs/{job_id}").raise_for_status().json())
        assert job["state"] == kinds[-1]
        if job["state"] == "failed":
            assert job["error"]["code"]
            assert job["error"]["message"]
        return job

    def jobs(self, model: str) -> list[dict[str, Any]]:
        with self.server.client() as http:
            reply = http.get("/native/v1/jobs", params={"model": model, "limit": 1000}).raise_for_status()
        return list(reply.json())

    def revisions(self, model: str) -> list[int]:
        with self.server.client() as http:
            reply = http.get(f"/native/v1/models/{model}/revisions")
        if reply.status_code == httpx.codes.NOT_FOUND:
            return []
        return [one["revision"] for one in reply.raise_for_status().json()["revisions"]]

    def check(self, source: Source, model: str) -> None:
        """Nothing is half or lost, and the newest revision answers as the source does."""
        jobs = [self.ended(job["id"]) for job in self.jobs(model)]
        completed = sorted(job["result"]["revision"] for job in jobs if job["state"] == "completed")
        assert self.revisions(model) == completed, "revisions are those of completed imports, and no others"
        assert faults_on_disk(self.state) == []
        if completed:
            self.ask(source, f"{model}:{completed[-1]}")

    def ask(self, source: Source, reference: str) -> None:
        self.until_unloaded()
        with self.server.client() as http:
            http.post(f"/native/v1/models/{reference}/load").raise_for_status()
            source.check_answer(http, reference)
        if self.unloads:
            # Triton takes a second for each process of a model; nothing but the next question has to wait for that.
            self._unloading.append(self._pool.submit(self._unload, reference))

    def _unload(self, reference: str) -> None:
        with self.server.client() as http, suppress(httpx.TransportError):  # the server may be killed meanwhile
            http.post(f"/native/v1/models/{reference}/unload").raise_for_status()

    def until_unloaded(self) -> None:
        """All that was asked, or lost in the death of its server."""
        while self._unloading:
            self._unloading.pop().result()

    def purge(self, model: str) -> None:
        self.until_unloaded()  # of a model that is gone an unload would say so
        with self.server.client() as http:
            http.delete(f"/models/{model}", params={"purge": True})

    def wait_until_forgotten(self) -> None:
        """A job is over a moment before the durability forgets it."""
        deadline = time.monotonic() + FORGOTTEN_WITHIN_S
        while steps_left(self.state):
            assert time.monotonic() < deadline, "the durability still knows jobs that are over"
            time.sleep(0.02)


def close(plane: Plane) -> None:
    """Stopped as an operator would; nothing has crashed by itself."""
    plane.until_unloaded()
    assert plane.server.stop() == 0, plane.server.log[-4000:]
    assert plane.core_dumps() == []
