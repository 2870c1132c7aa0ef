"""Trying one candidate of an optimization: made, compared in its answers, served, measured beside the baseline."""

from __future__ import annotations

import shutil
from asyncio import to_thread
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from control_plane.domain.errors import DomainError, EngineFailed, InvalidRequest, TimedOut, Unsupported
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import Description
from control_plane.domain.optimization import BASELINE, Accuracy, Comparison, Outcome
from control_plane.domain.optimization_records import Tried
from control_plane.ports import CandidatePlan, Converter, ModelRepository, Progress, Report, ScratchTriton
from control_plane.services.artifacts import artifacts_of
from control_plane.services.grounds import VERSION, Ground, described, of_the_source
from control_plane.services.job_runs import part_of
from control_plane.services.measuring import Bench, Served
from control_plane.services.verdicts import Planned

SEARCH_ROUNDS = 8
_CANDIDATES, _EVALUATION = "candidates", "evaluation"  # folders of the workspace
# Shares of a trial's progress: what came before each part is done.
_MADE, _COMPARED = 0.5, 0.7


@dataclass(frozen=True, slots=True)
class Bounds:
    """`floor`: the lowest accuracy that is accepted. `data`: a file of held-out inputs; None: the converter's own."""

    floor: float
    data: Path | None
    is_out_of_time: Callable[[], bool]


class Trials:
    """All candidates of one job, one after the other, in one scratch Triton."""

    def __init__(
        self,
        converter: Converter,
        repository: ModelRepository,
        scratch: ScratchTriton,
        bench: Bench,
        ground: Ground,
        workspace: Path,
        bounds: Bounds,
    ) -> None:
        self._converter, self._repository = converter, repository
        self._scratch, self._bench = scratch, bench
        self._ground, self._workspace, self._bounds = ground, workspace, bounds
        self._baseline_bytes = 0

    async def baseline(self, report: Report) -> Tried:
        """Candidate 0, measured beside itself: what noise looks like here. Raises what keeps it from being measured."""
        artifacts = await to_thread(artifacts_of, self._workspace / self._ground.graph)
        tried = Tried(
            BASELINE,
            BASELINE,
            Outcome.APPLIED,
            self._ground.caveat,
            origin=self._ground.origin,
            plan=self._ground.steps,
            settings={},
            folder=self._ground.folder,
            artifacts=artifacts,
            description=self._ground.description,
        )
        await self.prepare(tried)
        report(Progress(0.3, "measuring the baseline"))
        accuracy = await self._accuracy(self._ground.graph, report)
        served = Served(BASELINE, tried.size_bytes)
        comparison = await self._bench.compare(served, served, SEARCH_ROUNDS, lambda fraction: None)
        return replace(tried, accuracy=accuracy, comparison=comparison)

    async def prepare(self, baseline: Tried) -> None:
        """The baseline laid out for the scratch Triton, before anything is compared with it."""
        self._baseline_bytes = baseline.size_bytes
        await self._stage(baseline)

    async def run(self, planned: Planned, best: Tried, report: Report) -> Tried:
        """What became of a candidate. Raises only what ends the whole job."""
        candidate = planned.candidate
        tried = Tried(candidate.name, planned.level, Outcome.SKIPPED)
        if candidate.reason is not None:
            return replace(tried, reason=candidate.reason)
        if self._bounds.is_out_of_time():
            return replace(tried, reason="time_budget: the time was over before its turn; raise time_budget_seconds")
        try:
            tried = await self._tried(tried, candidate, best, report)
        except Unsupported as error:
            tried = replace(tried, reason=f"not_supported_here: {error.message}")
        except (InvalidRequest, _Inapplicable) as error:
            tried = replace(tried, reason=f"not_applicable: {error}")
        except (EngineFailed, TimedOut) as error:
            tried = replace(tried, outcome=Outcome.REJECTED, reason=f"failed: {error.message}")
        if tried.outcome is not Outcome.APPLIED:
            await to_thread(_delete_made, self._workspace / _CANDIDATES / tried.name)
            await to_thread(shutil.rmtree, self._scratch.repository / tried.name, ignore_errors=True)
        return tried

    async def again(self, finalist: Tried, rounds: int, report: Report, *, renews_baseline: bool = False) -> Comparison:
        """Fresh samples of what was tried before, loaded anew. Raises EngineFailed, TimedOut.

        `renews_baseline`: it is loaded anew too. Memory grows with use, and the baseline has been asked all along.
        """
        if renews_baseline:
            await self._unloaded(BASELINE)
        await self._stage(finalist)
        return await self._compared(finalist, rounds, report)

    async def _tried(self, tried: Tried, candidate: CandidatePlan, best: Tried, report: Report) -> Tried:
        tried = replace(tried, settings={**(best.settings or {}), **candidate.settings})
        tried = await self._made(tried, candidate, best, report)
        report(Progress(_MADE, f"comparing the answers of {tried.name}"))
        accuracy = best.accuracy if tried.artifacts == best.artifacts else None
        if accuracy is None:
            accuracy = await self._accuracy(f"{tried.folder}/{VERSION}", report)
        tried = replace(tried, accuracy=accuracy)
        if accuracy.value < self._bounds.floor:
            reason = f"accuracy: {accuracy.metric} is {accuracy.value:.4f}, below {self._bounds.floor:g}"
            return replace(tried, outcome=Outcome.REJECTED, reason=reason)
        await self._stage(tried)
        report(Progress(_COMPARED, f"measuring {tried.name} beside the baseline"))
        comparison = await self._compared(tried, SEARCH_ROUNDS, report)
        return replace(tried, outcome=Outcome.APPLIED, comparison=comparison)

    async def _made(self, tried: Tried, candidate: CandidatePlan, best: Tried, report: Report) -> Tried:
        """With its files: those of the graph that it begins with, or what a conversion makes of them."""
        begin = self._beginning(candidate, best)
        tried = replace(tried, origin=begin.origin, plan=(*begin.plan, *candidate.steps))
        if not candidate.steps:
            artifacts = await to_thread(artifacts_of, self._workspace / begin.graph)
            return replace(tried, folder=begin.folder, artifacts=artifacts, description=begin.description)
        report(Progress(0.0, f"making {tried.name}"))
        request: JsonObject = {
            "source": str(self._workspace / begin.graph),
            "steps": list(candidate.steps),
            "inputs": list(self._ground.inputs),
            "compare": False,
        }
        folder = self._workspace / _CANDIDATES / tried.name
        made = await self._converter.convert(folder, request, part_of(report, 0.0, _MADE))
        return replace(
            tried,
            folder=made.directory.relative_to(self._workspace).as_posix(),
            artifacts=await to_thread(artifacts_of, made.directory / VERSION),
            description=described(begin.description, made.description),
        )

    def _beginning(self, candidate: CandidatePlan, best: Tried) -> _Beginning:
        ground = self._ground
        if candidate.graph == "source":
            if ground.source is None or not candidate.steps:
                raise _Inapplicable("the revision does not carry the source that it was made of")
            return _Beginning(ground.source, (), "", ground.source, of_the_source(ground.description))
        if candidate.graph == "best" and best.folder is not None and best.description is not None:
            return _Beginning(best.origin, best.plan, best.folder, f"{best.folder}/{VERSION}", best.description)
        return _Beginning(ground.origin, ground.steps, ground.folder, ground.graph, ground.description)

    async def _accuracy(self, graph: str, report: Report) -> Accuracy:
        data = self._bounds.data
        request: JsonObject = {
            "baseline": str(self._workspace / self._ground.graph),
            "candidate": str(self._workspace / graph),
            "data": None if data is None else str(data),
        }
        return await self._converter.evaluate(self._workspace / _EVALUATION, request, part_of(report, _MADE, _COMPARED))

    async def _stage(self, tried: Tried) -> None:
        assert tried.folder is not None
        assert tried.description is not None
        await self._repository.stage(
            self._workspace / tried.folder, tried.name, tried.description, tried.load_options, self._scratch.repository
        )

    async def _compared(self, tried: Tried, rounds: int, report: Report) -> Comparison:
        sides = Served(BASELINE, self._baseline_bytes), Served(tried.name, tried.size_bytes)
        doing = f"measuring {tried.name} beside the baseline"
        try:
            comparison = await self._bench.compare(
                *sides, rounds, lambda fraction: report(Progress(_COMPARED + (1 - _COMPARED) * fraction, doing))
            )
        except DomainError:
            await self._unloaded(tried.name)
            raise
        await self._unloaded(tried.name)
        return comparison

    async def _unloaded(self, directory: str) -> None:
        try:
            await self._bench.unload(directory)
        except DomainError:  # its server died with it; a new one has nothing loaded
            await self._scratch.ready()


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What a candidate's steps begin with: the folder with the graph (or the source), in a model directory `folder`.

    `plan`: the steps that lead there from `origin`.
    """

    origin: str
    plan: tuple[JsonObject, ...]
    folder: str
    graph: str
    description: Description


class _Inapplicable(Exception):
    """The candidate makes no sense for this model."""


def _delete_made(folder: Path) -> None:
    """The graphs that nobody asks for again: dozens of large models would fill the disk. The log stays."""
    for made in folder.glob("*/"):
        shutil.rmtree(made, ignore_errors=True)
