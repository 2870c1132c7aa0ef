"""The workflow of an optimization: candidates made and measured beside the baseline, the winner proven, published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from control_plane.domain.jobs import JobKind, JsonObject
from control_plane.domain.optimization import Deploy, OptimizationOptions
from control_plane.domain.optimization_records import Tried, tried_from_json, tried_to_json
from control_plane.ports import (
    Clock,
    Converter,
    ConverterCatalog,
    ModelRepository,
    Profiler,
    Progress,
    ScratchTriton,
    ScratchTritons,
)
from control_plane.services import verdicts
from control_plane.services.catalog import Catalog
from control_plane.services.evidence import Findings, evidence_of, result_of
from control_plane.services.finals import Finals
from control_plane.services.grounds import Ground, Grounds, ground_from_json, ground_to_json
from control_plane.services.imports import locate
from control_plane.services.job_logs import gather_logs
from control_plane.services.job_runs import part_of, to_its_end
from control_plane.services.jobs import JobService, Run
from control_plane.services.measuring import Bench, Workload
from control_plane.services.models import Models
from control_plane.services.optimizations import options_of
from control_plane.services.optimized_models import OptimizedModels, write_evidence
from control_plane.services.publishing import Publisher
from control_plane.services.searches import Searches
from control_plane.services.serving_search import Limits
from control_plane.services.trials import Bounds, Trials
from control_plane.services.turns import rows_of
from control_plane.services.verdicts import Planned

_SCRATCH, _SAMPLE = "scratch", "sample"  # folders of the workspace
_REQUESTS, _CONCURRENCY = 8, 8
# Shares of the job's progress: what came before each part is done.
_PREPARED, _GROUNDED, _TRIED, _SEARCHED, _PROVEN = 0.05, 0.1, 0.75, 0.85, 0.95


@dataclass(frozen=True, slots=True)
class Workshop:
    """The outside that an optimization works with. `machine`: what it runs on, for the evidence. `bench` measures."""

    converter: Converter
    repository: ModelRepository
    scratch: ScratchTritons
    profiler: Profiler
    clock: Clock
    machine: Mapping[str, object]
    import_root: Path | None
    bench: Callable[[ScratchTriton, Workload], Bench] = Bench


@dataclass(frozen=True, slots=True)
class _Task:
    """What one job is about. `began_at`: its time budget counts from then on, not while it waited for another."""

    run: Run
    options: OptimizationOptions
    catalog: ConverterCatalog
    ground: Ground
    began_at: datetime

    @property
    def workspace(self) -> Path:
        return self.run.workspace


@dataclass(frozen=True, slots=True)
class _Tools:
    """What candidates of one job are tried with, as long as its scratch Triton is open."""

    trials: Trials
    searches: Searches
    finals: Finals
    limits: Limits


class Optimizer:
    """One at a time, whatever the number of jobs: two that measure at once would measure each other."""

    def __init__(
        self, jobs: JobService, catalog: Catalog, models: Models, publisher: Publisher, workshop: Workshop
    ) -> None:
        self._catalog, self._workshop = catalog, workshop
        self._grounds = Grounds(catalog, workshop.repository, workshop.converter)
        self._results = OptimizedModels(models, publisher, workshop.converter)
        self._alone = asyncio.Lock()
        jobs.register(JobKind.OPTIMIZE, self._optimize)

    async def _optimize(self, run: Run) -> JsonObject:
        if self._alone.locked():
            run.report(Progress(0.0, "waiting for another optimization"))
        async with self._alone:
            self._catalog.begin_work(run.job.model)
            try:
                return await self._alone_at_work(run)
            finally:
                self._catalog.end_work(run.job.model)
                with suppress(OSError):  # as on a full disk: no reason to end otherwise
                    await to_its_end(asyncio.to_thread(gather_logs, run.workspace))

    async def _alone_at_work(self, run: Run) -> JsonObject:
        options = options_of(run.job.parameters)
        await self._workshop.converter.prepare(part_of(run.report, 0.0, _PREPARED))
        catalog = await self._workshop.converter.catalog()
        began = await run.step("begin", self._begin)
        ground = ground_from_json(await run.step("ground", lambda: self._ground(run, options)))
        task = _Task(run, options, catalog, ground, datetime.fromisoformat(str(began["at"])))
        async with self._tools(task) as tools:
            tried = await self._search(task, tools.trials)
            tried, searched = await self._searched(task, tools, tried)
            finals = await tools.finals.run(run, tried, part_of(run.report, _SEARCHED, _PROVEN))
        best = verdicts.winner(finals, options.objective)
        winner = next((one for one in tried if best is not None and best.name == one.name), None)
        proof = await run.step("prove", lambda: self._results.prove(run, ground, winner))
        run.report(Progress(_PROVEN, "publishing"))
        findings = Findings(tried, finals, winner, self._workshop.machine, proof, searched)
        return await self._published(task, findings)

    async def _begin(self) -> JsonObject:
        """As a step: a server that takes the job up again does not begin the time budget anew."""
        return {"at": self._workshop.clock.now().isoformat()}

    async def _ground(self, run: Run, options: OptimizationOptions) -> JsonObject:
        number = run.job.parameters["revision"]
        assert isinstance(number, int)
        report = part_of(run.report, _PREPARED, _GROUNDED)
        report(Progress(0.0, "preparing the baseline"))
        return ground_to_json(await self._grounds.make(run.job.model, number, options, run.workspace, report))

    @asynccontextmanager
    async def _tools(self, task: _Task) -> AsyncIterator[_Tools]:
        """Everything that candidates are tried with, in a Triton that serves nobody else."""
        workshop, options, workspace = self._workshop, task.options, task.workspace
        data, workload = self._data(task), await self._workload(task)
        is_out_of_time = self._timer(task)
        bounds = Bounds(verdicts.floor(task.catalog, options), data, is_out_of_time)
        limits = Limits(options.slo_p99_ms, is_out_of_time)
        converter, repository = workshop.converter, workshop.repository
        async with workshop.scratch.open(workspace / _SCRATCH) as scratch:
            bench = workshop.bench(scratch, workload)
            trials = Trials(converter, repository, scratch, bench, task.ground, workspace, bounds)
            searches = Searches(repository, workshop.profiler, scratch, trials, workload)
            repeats = int(verdicts.searches(task.catalog, options).get("proof", {}).get("repeats", 1))
            finals = Finals(trials, options.objective, repeats, is_out_of_time)
            yield _Tools(trials, searches, finals, limits)

    async def _workload(self, task: _Task) -> Workload:
        options, data = task.options, self._data(task)
        request: JsonObject = {
            "model": str(task.workspace / task.ground.graph),
            "count": _REQUESTS,
            "rows": options.batch_size,
            "length": options.sequence_length,
            "data": None if data is None else str(data),
        }
        requests = await self._workshop.converter.sample(task.workspace / _SAMPLE, request, lambda progress: None)
        is_text = task.ground.kind == "text_generation"
        rows = 1 if is_text or not requests else rows_of(requests[0], options.batch_size)
        return Workload(requests, rows, _CONCURRENCY, is_text)

    def _timer(self, task: _Task) -> Callable[[], bool]:
        """Whether the time budget is over."""
        clock = self._workshop.clock
        over_at = task.began_at + timedelta(seconds=task.options.time_budget_s)
        return lambda: clock.now() > over_at

    def _data(self, task: _Task) -> Path | None:
        """Held-out inputs: those that came with the request, else those that the model brought along."""
        if task.options.eval_data is not None:
            return locate(self._workshop.import_root, task.options.eval_data, "eval_data")
        return None if task.ground.data is None else task.workspace / task.ground.data

    async def _search(self, task: _Task, trials: Trials) -> list[Tried]:
        """The baseline, then each candidate that fits the model."""
        run, objective = task.run, task.options.objective
        plan = verdicts.planned(task.catalog, task.options, task.ground.kind)
        recorded = await run.step("plan", lambda: _recorded(plan))
        plan = [verdicts.planned_from_json(one) for one in _list(recorded["candidates"])]
        share = (_TRIED - _GROUNDED) / (len(plan) + 1)
        first = part_of(run.report, _GROUNDED, _GROUNDED + share)

        async def measure_baseline() -> JsonObject:
            return tried_to_json(await trials.baseline(first))

        tried = [tried_from_json(await run.step("baseline", measure_baseline))]
        await trials.prepare(tried[0])
        for position, one in enumerate(plan, start=1):
            report = part_of(run.report, _GROUNDED + share * position, _GROUNDED + share * (position + 1))
            report(Progress(0.0, f"trying {one.candidate.name}"))
            best = verdicts.best_of(tried, objective)

            async def attempt(one: Planned = one, best: Tried = best, report: Any = report) -> JsonObject:
                return tried_to_json(await trials.run(one, best, report))

            tried.append(tried_from_json(await run.step(f"try {one.candidate.name}", attempt)))
        return tried

    async def _searched(self, task: _Task, tools: _Tools, tried: list[Tried]) -> tuple[list[Tried], JsonObject]:
        """What the searches of the level add: candidates, and what the result shows of them."""
        options, record = task.options, JsonObject()
        report = part_of(task.run.report, _TRIED, _SEARCHED)
        for name, table in verdicts.wanted_searches(task.catalog, options).items():

            async def search(name: str = name, table: Any = table, tried: list[Tried] = tried) -> JsonObject:
                if name == "serving":
                    best = verdicts.best_of(tried, options.objective)
                    found = await tools.searches.serving(table, best, tools.limits, task.workspace, report)
                else:
                    is_over = tools.limits.is_out_of_time
                    found = await tools.searches.joint(table, tried, options.objective, is_over, report)
                return {"found": [tried_to_json(one) for one in found.found], "record": found.record}

            searched = await task.run.step(f"search {name}", search)
            tried = [*tried, *(tried_from_json(one) for one in _list(searched["found"]))]
            assert isinstance(searched["record"], dict)
            record |= searched["record"]
        return tried, record

    async def _published(self, task: _Task, findings: Findings) -> JsonObject:
        run, winner = task.run, findings.winner
        number = None
        if winner is not None:
            self._catalog.get(run.job.model)  # purged meanwhile, it is not to come back by itself
            number = int(str((await run.step("reserve", lambda: self._results.reserve(run)))["revision"]))
        result = result_of(findings, run.job.model, number)
        about: JsonObject = {
            "optimization_id": run.job.id,
            "model": run.job.model,
            "baseline_revision": task.ground.revision,
            "options": {**asdict(task.options), "min_accuracy": verdicts.floor(task.catalog, task.options)},
        }
        await to_its_end(asyncio.to_thread(write_evidence, task.workspace, evidence_of(findings, result, about)))
        if winner is not None and number is not None:
            proof = findings.tools
            await run.step("publish", lambda: self._results.publish(run, task.ground, winner, number, proof))
            if task.options.deploy is not Deploy.NONE:
                deployment = await run.step("deploy", lambda: self._results.deploy(run, task.options.deploy, number))
                return {**result, "deployment": deployment}
        return result


async def _recorded(plan: Sequence[Planned]) -> JsonObject:
    """As a step: a server that takes the job up again may know other levels."""
    return {"candidates": [asdict(one) for one in plan]}


def _list(value: object) -> list[Any]:
    assert isinstance(value, list)
    return value
