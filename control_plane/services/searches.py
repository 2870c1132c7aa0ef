"""The searches that follow a level's candidates: serving settings under load, and graphs and settings together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from control_plane.domain.errors import EngineFailed, InvalidRequest, TimedOut, Unsupported
from control_plane.domain.jobs import JsonObject
from control_plane.domain.models import LoadOptions
from control_plane.domain.optimization import Comparison, Objective, Outcome, gain
from control_plane.domain.optimization_records import Tried
from control_plane.domain.pareto import Point, pareto_front
from control_plane.domain.statistics import quantile
from control_plane.ports import ModelRepository, Profile, Profiler, Progress, Report, ScratchTriton
from control_plane.services.halving import Budget, Halved, successive_halving
from control_plane.services.serving_search import Limits, ServingSearch, Subject, Trial, grid_of
from control_plane.services.trials import SEARCH_ROUNDS, Trials
from control_plane.services.turns import Workload
from control_plane.services.verdicts import SEARCH_NAMES

SERVING, JOINT = SEARCH_NAMES["serving"], SEARCH_NAMES["joint"]
_FOLDER = "serving"  # of the workspace
_GRAPHS_MAX = 4  # the best of what was tried goes into the joint search
_LATE = "time_budget: the time was over before its turn"
_CUT_SHORT = "time_budget: the search was cut short; raise time_budget_seconds"


@dataclass(frozen=True, slots=True)
class Searched:
    """`found`: candidates to stand beside the others. `record`: what the result shows of the search."""

    found: tuple[Tried, ...]
    record: JsonObject


class Searches:
    """Both searches of one job, in its scratch Triton."""

    def __init__(
        self,
        repository: ModelRepository,
        profiler: Profiler,
        scratch: ScratchTriton,
        trials: Trials,
        workload: Workload,
    ) -> None:
        self._search, self._profiler = ServingSearch(scratch, repository, profiler), profiler
        self._trials, self._workload = trials, workload

    async def serving(
        self, table: Mapping[str, Any], best: Tried, limits: Limits, workspace: Path, report: Report
    ) -> Searched:
        """The best so far under perf_analyzer's load: how many instances, rows and threads serve it best."""
        tried = replace(best, name=SERVING, level="ultimate", outcome=Outcome.SKIPPED, reason=None, comparison=None)
        if limits.is_out_of_time():
            return Searched((replace(tried, reason=_LATE),), {})
        seen: list[Trial] = []

        def on_trial(trial: Trial) -> None:
            seen.append(trial)
            report(Progress(min(0.8, 0.1 * len(seen)), f"serving settings, trial {len(seen)}"))

        try:
            await self._profiler.prepare(report)
            subject = self._subject(best, workspace)
            found = await self._search.search(subject, grid_of(table), limits, workspace / _FOLDER, on_trial)
        except (Unsupported, InvalidRequest) as error:
            return Searched((replace(tried, reason=f"not_supported_here: {error.message}"),), {})
        record: JsonObject = {"serving_search": [_trial(trial) for trial in found.trials]}
        if found.best is None:
            why = (
                "no settings could be measured that keep the SLO" if limits.slo_p99_ms else "nothing could be measured"
            )
            return Searched((replace(tried, outcome=Outcome.REJECTED, reason=why),), record)
        done = await self._measured(replace(tried, settings=_said(found.best.settings)), SEARCH_ROUNDS, report)
        return Searched((done if found.is_whole else _cut_short(done),), record)

    async def joint(
        self,
        table: Mapping[str, Any],
        tried: Sequence[Tried],
        objective: Objective,
        is_out_of_time: Callable[[], bool],
        report: Report,
    ) -> Searched:
        """Graphs and settings together by successive halving, and which of all measured nothing else beats."""
        measured: dict[str, Tried] = {}
        combined = list(_combined(table, tried, objective))

        async def measure(candidate: Tried, rounds: int) -> float | None:
            report(Progress(min(0.9, len(measured) / (2 * len(combined))), f"measuring {candidate.name}"))
            done = await self._measured(candidate, rounds, lambda progress: None)
            measured[candidate.name] = done
            return None if done.comparison is None else gain(done.comparison, objective).value

        budget = Budget(int(table.get("start_rounds", 5)), SEARCH_ROUNDS * 2, float(table.get("keep", 0.5)))
        halved = await successive_halving(combined, measure, budget, is_out_of_time)
        known = [one for one in (*tried, *measured.values()) if one.comparison is not None]
        pareto = [asdict(point) for point in pareto_front([_point(one) for one in known])]
        rungs = [{"rounds": rung.rounds, "candidates": len(rung.values)} for rung in halved.rungs]
        record: JsonObject = {"pareto": pareto, "joint_search": {"combinations": len(combined), "rungs": rungs}}
        return Searched((_best(halved, measured),), record)

    async def _measured(self, tried: Tried, rounds: int, report: Report) -> Tried:
        try:
            comparison = await self._trials.again(tried, rounds, report)
        except (EngineFailed, TimedOut) as error:
            return replace(tried, outcome=Outcome.REJECTED, reason=f"failed: {error.message}")
        except (InvalidRequest, Unsupported) as error:
            return replace(tried, outcome=Outcome.SKIPPED, reason=f"not_applicable: {error.message}")
        return replace(tried, outcome=Outcome.APPLIED, reason=None, comparison=comparison)

    def _subject(self, best: Tried, workspace: Path) -> Subject:
        assert best.folder is not None
        assert best.description is not None
        parameters = (("max_tokens", self._workload.max_tokens), ("temperature", 0.0))
        return Subject(
            workspace / best.folder,
            SERVING,
            best.description,
            best.load_options,
            self._workload.requests,
            parameters if self._workload.is_text else (),
        )


def _combined(table: Mapping[str, Any], tried: Sequence[Tried], objective: Objective) -> Iterator[Tried]:
    """The best graphs, each with every combination of settings; one combination of one graph once."""
    applied = [one for one in tried if one.outcome is Outcome.APPLIED and one.comparison is not None]
    applied.sort(key=lambda one: gain(_comparison(one), objective).value, reverse=True)
    best_of_each: dict[tuple[str, ...], Tried] = {}
    for one in applied:
        best_of_each.setdefault(one.artifacts_key, one)
    grid = {name: values for name, values in table.items() if isinstance(values, list)}
    for graph, values in product(list(best_of_each.values())[:_GRAPHS_MAX], product(*grid.values())):
        yield replace(
            graph,
            name=f"{graph.name}-{'-'.join(map(str, values))}",
            level="absolute",
            settings={**(graph.settings or {}), **dict(zip(grid, values, strict=True))},
            comparison=None,
        )


def _best(halved: Halved[Tried], measured: Mapping[str, Tried]) -> Tried:
    is_whole = all(rung.is_whole for rung in halved.rungs)
    if halved.ranking:
        best = measured[halved.ranking[0].name]
        return best if is_whole else _cut_short(best)
    if is_whole:
        return Tried(JOINT, "absolute", Outcome.REJECTED, "failed: no combination could be measured")
    return Tried(JOINT, "absolute", Outcome.SKIPPED, _LATE)


def _cut_short(tried: Tried) -> Tried:
    """There may have been better ones."""
    return replace(tried, reason=tried.reason or _CUT_SHORT)


def _comparison(tried: Tried) -> Comparison:
    assert tried.comparison is not None
    return tried.comparison


def _point(tried: Tried) -> Point:
    comparison = _comparison(tried)
    latencies = [second for turn in comparison.latency.candidate for second in turn]
    accuracy = 0.0 if tried.accuracy is None else tried.accuracy.value
    served = comparison.candidate
    return Point(tried.name, quantile(latencies, 0.99), served.throughput, served.pss_bytes, accuracy)


def _said(settings: LoadOptions) -> JsonObject:
    """The fields that differ from a load that says nothing."""
    silent = asdict(LoadOptions())
    return {name: value for name, value in asdict(settings).items() if value != silent[name]}


def _trial(trial: Trial) -> JsonObject:
    return {
        "settings": _said(trial.settings),
        "reason": trial.reason,
        "profiles": [_profile(profile) for profile in trial.profiles],
    }


def _profile(profile: Profile) -> JsonObject:
    return {
        "tool": profile.tool,
        "concurrency": profile.concurrency,
        "requests_per_s": profile.requests_per_s,
        "latency_p50_s": profile.latency_p50_s,
        "latency_p99_s": profile.latency_p99_s,
    }
