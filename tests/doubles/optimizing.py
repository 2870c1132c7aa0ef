"""The real optimizer on doubles, in virtual time: servers one after the other on what the last one has left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from control_plane.domain.access import Principal, Role
from control_plane.domain.events import EventFilter, Topic
from control_plane.domain.jobs import Job, JobState, JsonObject
from control_plane.domain.models import LoadOptions, ModelRecord, Revision
from control_plane.domain.optimization import Level, OptimizationOptions
from control_plane.domain.references import STABLE
from control_plane.domain.tensors import pack
from control_plane.ports import CandidatePlan, LevelPlan, ScratchTriton
from control_plane.services.catalog import Catalog
from control_plane.services.jobs import JobService
from control_plane.services.loading import Loader
from control_plane.services.measuring import Bench, Workload
from control_plane.services.models import Machine, Models
from control_plane.services.optimizations import Optimizations
from control_plane.services.optimizing import Optimizer, Workshop
from control_plane.services.probing import Prober
from control_plane.services.publishing import Publisher
from tests.doubles.clock import FixedClock
from tests.doubles.converter import InMemoryConverter
from tests.doubles.durability import InMemoryDurability, Record
from tests.doubles.jobs import InMemoryEvents, InMemoryJobStore, TemporaryWorkspaces
from tests.doubles.profiler import InMemoryProfiler, RecordingRepository
from tests.doubles.repository import CREATED_AT, tensor_revision
from tests.doubles.scratch import InMemoryScratch, InMemoryScratches
from tests.doubles.stores import InMemoryModelStore
from tests.doubles.triton import InMemoryTriton, InMemoryTritonServer
from tests.doubles.virtual_time import VirtualTimeLoop

Result = TypeVar("Result")
ADMIN = Principal("somebody", Role.ADMIN)
BASELINE_S = 0.02
REQUESTS = [(pack("input", "FP32", [1, 4], [value] * 4),) for value in (1.0, 2.0)]
FULL = tensor_revision("mlp")


def in_no_time(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


def candidate(
    name: str, graph: str = "baseline", *, made: bool = True, reason: str | None = None, **settings: object
) -> CandidatePlan:
    """`made`: by a recipe of that name; else only the settings differ."""
    steps: tuple[JsonObject, ...] = ({"recipe": name, "parameters": {}},) if made else ()
    return CandidatePlan(name, ("onnx",), graph, steps, settings, reason)


def level(
    name: str, *candidates: CandidatePlan, floor: float | None = 0.99, search: JsonObject | None = None
) -> LevelPlan:
    return LevelPlan(name, "", floor, None, candidates, search or {})


class LoopClock(FixedClock):
    """Noon, and as much later as the loop has waited."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=asyncio.get_running_loop().time())


@dataclass
class Server:
    """One life."""

    jobs: JobService
    catalog: Catalog
    models: Models
    optimizations: Optimizations
    durability: InMemoryDurability

    async def submit(self, name: Level = Level.BASIC, **options: Any) -> Job:
        return await self.optimizations.submit("mlp", OptimizationOptions(name, **options), (), ADMIN)

    async def optimized(self, name: Level = Level.BASIC, **options: Any) -> Job:
        """The job when it is over."""
        return await self.jobs.wait((await self.submit(name, **options)).id)


class Place:
    """What outlives a server: disk and database, and the machine with all that runs on it; all may be exchanged.

    `delays`: seconds that a request takes, by candidate; BASELINE_S where nothing is said, and of the baseline.
    """

    def __init__(self, *levels: LevelPlan, revision: Revision = FULL, **delays: float) -> None:
        self.clock = LoopClock()
        self.events, self.workspaces = InMemoryEvents(self.clock), TemporaryWorkspaces()
        self.store, self.records = InMemoryJobStore(self.events), dict[str, Record]()
        self.model_store, self.triton = InMemoryModelStore(), InMemoryTriton()
        self.repository = RecordingRepository(revision)
        self.profiler = InMemoryProfiler(self.repository, _speed)
        self.converter, self.bench = InMemoryConverter(), virtual_bench
        self.converter.samples, self.converter.levels, self.converter.adds_steps = REQUESTS, tuple(levels), True
        self.scratches = InMemoryScratches(self._prepare)
        self.machine = _Machine({name.replace("_", "-"): delay_s for name, delay_s in delays.items()})

    async def open(self) -> Server:
        if not await self.model_store.list():
            record = ModelRecord("mlp", CREATED_AT, CREATED_AT, is_builtin=False, aliases={STABLE: 1})
            await self.model_store.create(record)
            await self.model_store.next_revision("mlp")
        catalog, control = Catalog(), InMemoryTritonServer(self.clock.now())
        prober = Prober(self.triton, self.clock)
        loader = Loader(catalog, self.model_store, self.triton, prober, self.clock, max_concurrent_loads=1)
        publisher = Publisher(catalog, self.model_store, self.repository, loader, control, self.clock)
        machine = Machine(has_gpu=False, device_fallback=False)
        models = Models(catalog, self.model_store, self.repository, loader, control, publisher, self.clock, machine)
        await models.open()
        durability = InMemoryDurability(self.records, max_concurrent=10)
        jobs = JobService(self.store, self.events, durability, self.workspaces, self.clock)
        Optimizer(jobs, catalog, models, publisher, self._workshop())
        optimizations = Optimizations(jobs, catalog, publisher, self.converter, self.workspaces, None)
        await jobs.open()
        return Server(jobs, catalog, models, optimizations, durability)

    async def until(self, job: Job, step: str) -> None:
        """Until a job is at something."""
        wanted = EventFilter(frozenset({Topic.JOB}), job.id)
        async with aclosing(self.events.watch(wanted, 0)) as events:
            async for event in events:
                if event.payload["step"] == step:
                    return
                assert event.payload["state"] in (JobState.QUEUED, JobState.RUNNING), f"it was never {step!r}"

    def evidence(self, job: Job) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.workspaces.evidence_file(job.id).read_text())
        return found

    def staged(self, directory: str) -> list[LoadOptions]:
        """The settings of each time that a directory was laid out for a scratch Triton."""
        return [settings for name, settings in self.repository.layouts if name == directory]

    def _workshop(self) -> Workshop:
        machine: dict[str, object] = {"cpu": "a processor of the tests", "device": "cpu"}
        return Workshop(
            self.converter, self.repository, self.scratches, self.profiler, self.clock, machine, None, self.bench
        )

    def _prepare(self, scratch: InMemoryScratch) -> None:
        machine = self.machine
        scratch.delay_s = BASELINE_S
        scratch.delays, scratch.next_delays = dict(machine.delays), dict(machine.next_delays)
        scratch.noise = dict(machine.noise)
        scratch.pss, scratch.killers, scratch.refusals = dict(machine.pss), set(machine.killers), dict(machine.refusals)


@dataclass
class _Machine:
    """What scratch Tritons do on it; see InMemoryScratch."""

    delays: dict[str, float]
    next_delays: dict[str, list[float]] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    pss: dict[str, int | None] = field(default_factory=dict)
    killers: set[str] = field(default_factory=set)
    refusals: dict[str, Any] = field(default_factory=dict)


def recipes(job: Job) -> dict[str, tuple[str, str | None]]:
    """Of a job's result: each candidate's status and reason."""
    assert job.result is not None, job.failure
    found: Sequence[Any] = job.result["recipes"]  # type: ignore[assignment]
    return {one["name"]: (one["status"], one["reason"]) for one in found}


def result(job: Job) -> dict[str, Any]:
    assert job.result is not None, job.failure
    return job.result


def virtual_bench(scratch: ScratchTriton, workload: Workload) -> Bench:
    return Bench(scratch, workload, now_s=asyncio.get_running_loop().time)


def _speed(settings: LoadOptions, concurrency: int) -> tuple[float, float]:
    """The more instances the better, up to two."""
    return 100.0 * min(settings.instance_count or 1, 2), 0.01
