"""Which candidates an optimization tries, and which of them is good enough (contract 2.6). Nothing here is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.optimization import (
    BASELINE,
    Comparison,
    Level,
    Objective,
    OptimizationOptions,
    Outcome,
    gain,
)
from control_plane.domain.optimization_records import Tried
from control_plane.ports import CandidatePlan, ConverterCatalog, LevelPlan
from control_plane.services.evidence import Final

# A winner is measured again; it stands where it is better by more than this, at the lower end of 99.9 %.
MARGIN = 1.02
FINALISTS_MAX = 3
FULL_ACCURACY = 1.0
# What callers know the searches by that are more than a list of candidates.
SEARCH_NAMES = {"serving": "serving-search", "joint": "joint-search"}


@dataclass(frozen=True, slots=True)
class Planned:
    """A candidate to be tried, and the level that it comes from."""

    level: str
    candidate: CandidatePlan


def planned_from_json(fields: Mapping[str, Any]) -> Planned:
    """Of `dataclasses.asdict`."""
    candidate = fields["candidate"]
    takes, steps = tuple(candidate["takes"]), tuple(candidate["steps"])
    return Planned(fields["level"], CandidatePlan(**{**candidate, "takes": takes, "steps": steps}))


def levels_up_to(catalog: ConverterCatalog, level: Level) -> Sequence[LevelPlan]:
    wanted = [one.value for one in Level]
    wanted = wanted[: wanted.index(level.value) + 1]
    return [plan for plan in catalog.levels if plan.name in wanted]


def planned(catalog: ConverterCatalog, options: OptimizationOptions, kind: str) -> list[Planned]:
    """What is tried of a model whose graph is of this kind, from the lowest level on: in the same time a higher level
    has tried all that a lower one has.

    Raises: InvalidRequest for a recipe that the level has not.
    """
    found = [
        Planned(level.name, candidate)
        for level in levels_up_to(catalog, options.level)
        for candidate in level.candidates
        if kind in candidate.takes
    ]
    known = [one.candidate.name for one in found]
    known += [SEARCH_NAMES[name] for name in searches(catalog, options) if name in SEARCH_NAMES]
    unknown = sorted(set(options.recipes) - set(known))
    if unknown:
        raise InvalidRequest(
            f"{options.level.value} has no recipe {unknown[0][:100]!r} for this model; it has: {', '.join(known)}",
            field="recipes",
        )
    return [one for one in found if not options.recipes or one.candidate.name in options.recipes]


def searches(catalog: ConverterCatalog, options: OptimizationOptions) -> dict[str, Any]:
    """The settings of the searches that a level has, by their name there."""
    return {name: table for level in levels_up_to(catalog, options.level) for name, table in level.search.items()}


def wanted_searches(catalog: ConverterCatalog, options: OptimizationOptions) -> dict[str, Any]:
    """Those that are more than a list of candidates, in the order in which they run: all, or the ones asked for."""
    tables = searches(catalog, options)
    wanted = [one for one, known in SEARCH_NAMES.items() if not options.recipes or known in options.recipes]
    return {name: tables[name] for name in wanted if name in tables}


def floor(catalog: ConverterCatalog, options: OptimizationOptions) -> float:
    """The lowest accuracy that is accepted: the caller's, else that of the highest level that says one."""
    if options.min_accuracy is not None:
        return options.min_accuracy
    said = [plan.min_accuracy for plan in levels_up_to(catalog, options.level) if plan.min_accuracy is not None]
    return said[-1] if said else FULL_ACCURACY


def best_of(tried: Sequence[Tried], objective: Objective) -> Tried:
    """The best so far; the baseline, which is the first of them, where nothing is better."""
    return max(tried, key=lambda one: _gain(one, objective))  # of equals the first


def finalists(tried: Sequence[Tried], objective: Objective) -> list[Tried]:
    """The best few that look better than the baseline, best first: those that are so for 95 %, then the others."""
    measured = [one for one in tried if one.name != BASELINE and one.outcome is Outcome.APPLIED]
    better = [one for one in measured if one.comparison is not None and looks_better(one.comparison, objective)]

    def rank(one: Tried) -> tuple[bool, float]:
        assert one.comparison is not None
        found = gain(one.comparison, objective)
        return found.low > 1.0, found.low if found.low > 1.0 else found.value

    return sorted(better, key=rank, reverse=True)[:FINALISTS_MAX]


def looks_better(comparison: Comparison, objective: Objective) -> bool:
    """Whether it seems better than the baseline, which it may be by chance."""
    return gain(comparison, objective).value > MARGIN


def deserves_a_final(finalist: Tried, finals: Sequence[Final], objective: Objective, *, is_late: bool) -> bool:
    """Whether it is to be measured again after these, by what the search found.

    Where one stands: if it may be better than that, or, when the time is over, if it seems to be. Where none stands
    and the time is over: if it is better than the baseline for 95 %, or comes first.
    """
    assert finalist.comparison is not None
    found, best = gain(finalist.comparison, objective), winner(finals, objective)
    if best is None:
        return not is_late or not finals or found.low > 1.0
    standing = gain(best.comparison, objective)
    return found.value > standing.value if is_late else found.high > standing.low


def winner(finals: Sequence[Final], objective: Objective) -> Final | None:
    """The best of those that stand, by its lower end on fresh samples."""
    standing = [final for final in finals if final.stands]
    return max(standing, key=lambda final: gain(final.comparison, objective).low, default=None)


def stands(again: Comparison, objective: Objective) -> bool:
    """Whether a finalist is better than the baseline for certain, by the samples that were taken anew."""
    return gain(again, objective).low_999 > MARGIN


def _gain(tried: Tried, objective: Objective) -> float:
    """How much better it is at least: of many noisy figures the highest is the luckiest."""
    if tried.outcome is not Outcome.APPLIED:
        return 0.0
    return 1.0 if tried.comparison is None or tried.name == BASELINE else gain(tried.comparison, objective).low
