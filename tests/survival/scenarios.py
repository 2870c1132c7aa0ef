"""An import that is killed with its server, or cancelled, at some moment: what then must be true, and the figures."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from tests.survival.plane import Plane
from tests.survival.sources import Source
from tests.survival.whole import dead_after_s, processes_at

DEAD_WITHIN_S = 2.0
# How long after a mark an aimed moment may be: a step's end, its record and the next one's begin are within it.
BORDER_S = 0.15
NEVER = "no job: the upload was cut"


@dataclass(frozen=True)
class Moment:
    """`delay_s` after the first event whose text has `after` in it; without one, after the import was begun."""

    delay_s: float
    after: str | None = None

    def __str__(self) -> str:
        return f"{self.delay_s:.3f} s after {self.after or 'the request'}"


@dataclass(frozen=True)
class Ending:
    """How an import ended that was interrupted. Times are None where there was nothing to measure."""

    source: str
    moment: Moment
    state: str
    reason: str = ""
    death_s: float | None = None
    restart_s: float | None = None

    def __str__(self) -> str:
        times = {"dead after": self.death_s, "ready after": self.restart_s}
        told = [f"{what} {took_s:.2f} s" for what, took_s in times.items() if took_s is not None]
        return ", ".join([f"{self.source} {self.moment}: {self.state}", *told, *([self.reason] if self.reason else [])])


class Scenario:
    """One interrupted import after the other. Every second one is of a new model, which is purged afterwards."""

    def __init__(self, plane: Plane, chance: random.Random) -> None:
        self._plane, self._chance = plane, chance
        self._count = 0

    def moments(self, source: Source, count: int) -> list[Moment]:
        """Half of them just after the events of an undisturbed import, where steps meet; half spread over all of it."""
        marks, duration_s = self._plane.marks[source.name], self._plane.duration_s(source)
        borders = [marks[index * len(marks) // (count // 2)] for index in range(count // 2)]
        share_s = duration_s / (count - len(borders))
        aimed = [Moment(self._chance.uniform(0, BORDER_S), mark.what) for mark in borders]
        return aimed + [Moment(share_s * (index + self._chance.random())) for index in range(count - len(borders))]

    def kill(self, source: Source, moment: Moment) -> Ending:
        """The server dies; the next one must bring the job to an end that it can answer for."""
        plane, model = self._plane, self._model(source)
        known = {job["id"] for job in plane.jobs(model)}
        with ThreadPoolExecutor(1) as pool:
            self._reach(pool, source, model, moment)
            began = time.monotonic()
            death_s = dead_after_s(began, plane.kill(), plane.state)
        restart_s = plane.start()
        jobs = [plane.ended(job["id"]) for job in plane.jobs(model) if job["id"] not in known]
        self._settle(source, model)
        if not jobs:
            assert source.upload is not None, "a job that was begun is lost"
            return Ending(source.name, moment, NEVER, "", death_s, restart_s)
        (job,) = jobs
        return Ending(source.name, moment, job["state"], _reason(job), death_s, restart_s)

    def cancel(self, source: Source, moment: Moment) -> Ending:
        """Answered when everything is dead and nothing is left; or refused, because it was over."""
        plane, model = self._plane, self._model(source)
        with ThreadPoolExecutor(1) as pool:
            job_id = self._reach(pool, source, model, moment).result()
        folder = plane.state / "jobs" / job_id
        family, began = processes_at(folder), time.monotonic()
        with plane.server.client() as http:
            reply = http.post(f"/native/v1/jobs/{job_id}/cancel")
        death_s = dead_after_s(began, family, folder)
        assert death_s < DEAD_WITHIN_S
        job = plane.ended(job_id)
        if job["state"] == "cancelled":
            assert reply.status_code == httpx.codes.OK, reply.text
        else:
            assert reply.status_code == httpx.codes.CONFLICT, reply.text
        self._settle(source, model)
        return Ending(source.name, moment, job["state"], _reason(job), death_s if family else None)

    def _model(self, source: Source) -> str:
        self._count += 1
        return source.name if self._count % 2 else f"{source.name}-{self._count}"

    def _settle(self, source: Source, model: str) -> None:
        self._plane.check(source, model)
        self._plane.wait_until_forgotten()
        if model != source.name and self._plane.revisions(model):
            self._plane.purge(model)

    def _reach(self, pool: ThreadPoolExecutor, source: Source, model: str, moment: Moment) -> Future[str]:
        """Begin an import, and be there at the moment; its job's id will be the result, unless an upload is cut."""
        began = time.monotonic()
        submitting = pool.submit(self._submit, source, model)
        if moment.after is not None:
            self._plane.wait_for(submitting.result(), moment.after)
            began = time.monotonic()
        time.sleep(max(0.0, began + moment.delay_s - time.monotonic()))
        return submitting

    def _submit(self, source: Source, model: str) -> str:
        try:
            with self._plane.server.client() as http:
                return source.submit(http, model)
        except httpx.TransportError:  # the server died meanwhile
            return ""


def figures(endings: Sequence[Ending]) -> list[str]:
    """How often which end, and the longest times."""
    counts = Counter((ending.source, ending.state) for ending in endings)
    told = [f"{source}: {state} {count} times" for (source, state), count in sorted(counts.items())]
    deaths = [ending.death_s for ending in endings if ending.death_s is not None]
    restarts = [ending.restart_s for ending in endings if ending.restart_s is not None]
    told += [f"children dead after {max(deaths):.2f} s at most ({len(deaths)} measured)"] if deaths else []
    return told + ([f"ready again after {max(restarts):.2f} s at most"] if restarts else [])


def _reason(job: dict[str, Any]) -> str:
    return f"{job['error']['code']}: {job['error']['message']}" if job["error"] else ""
