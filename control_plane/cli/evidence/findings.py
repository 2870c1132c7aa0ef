"""What the evidence of an optimization says of each candidate and of the winner, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from control_plane.cli.console import NOTHING, duration, size

if TYPE_CHECKING:
    from tritonplane_client.optimization_schemas import Candidate, Comparison, Evidence, Final, Interval

BASELINE = "baseline"
_NOISE = "measured beside itself: how much is noise here"


@dataclass(frozen=True, slots=True)
class Finding:
    """A candidate. Ratios are over the baseline; reductions are shares of it, below 0 where there is more of it.

    None where it was not measured.
    """

    name: str
    level: str
    status: str
    reason: str | None
    is_chosen: bool
    accuracy: float | None
    speedup: Interval | None
    throughput: Interval | None
    memory_reduction: float | None
    size_reduction: float | None


def findings_of(evidence: Evidence) -> list[Finding]:
    """In the order in which they were tried, the baseline first."""
    chosen = evidence["result"].get("chosen_recipe")
    return [_finding(candidate, is_chosen=candidate["name"] == chosen) for candidate in evidence["candidates"]]


def decisive_final(evidence: Evidence) -> Final | None:
    """The winner on fresh samples; None where the baseline won."""
    chosen = evidence["result"].get("chosen_recipe")
    return next((final for final in evidence["finals"] if final["name"] == chosen), None)


def samples_of(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [value for values in rounds for value in values]


def verdict(evidence: Evidence) -> str:
    """One sentence: which won, and by how much."""
    final = decisive_final(evidence)
    if final is None:
        return "The baseline won: nothing was better for certain and as accurate, so the model stays as it is."
    comparison, result = final["comparison"], evidence["result"]
    said = [
        f"{final['name']} won: {ratio(comparison['speedup']['value'])} as fast as the baseline "
        f"(95 %: {bounds(comparison['speedup'])}, measured again on fresh samples)",
        f"throughput {ratio(comparison['throughput_ratio']['value'])}",
        *_reductions(comparison),
    ]
    accuracy = result.get("accuracy")
    if accuracy is not None:
        doubt = ", few" if accuracy.get("low_evidence") else ""
        said.append(
            f"accuracy {share(accuracy['value'])} ({accuracy['metric']} on {accuracy['samples']} inputs{doubt})"
        )
    return ", ".join(said) + "."


def whereabouts(evidence: Evidence) -> list[str]:
    """Where the new revision is, and what to do with it; one sentence each."""
    made = evidence["result"].get("optimized_model_id")
    model, before = evidence["model"], f"{evidence['model']}:{evidence['baseline_revision']}"
    if made is None:
        return [f"{before} is as it was; `--level` with more recipes, or a lower `--min-accuracy`, may find more."]
    deployment = evidence["result"].get("deployment") or {"deployed": "none", "reason": None}
    deployed, reason = deployment["deployed"], deployment["reason"]
    if deployed == "promote":
        return [f"{model} now means {made}, which is loaded.", f"{before} is still there: ask for it by that name."]
    where = f"{made} is a new revision, loaded." if deployed == "load" else f"{made} is a new revision, not loaded yet."
    refused = [] if reason is None else [f"It was to be deployed otherwise: {reason}."]
    load = [] if deployed == "load" else [f"`tritonplane models load {made}` loads it."]
    return [
        where,
        *refused,
        *load,
        f"Requests reach it as {made}; {model} means what it meant before. With `--deploy promote` an optimization "
        f"has the name mean the winner at once.",
    ]


def pareto_of(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """Of a joint search: what is known of each way to serve that no other beats in everything, under its headings."""
    front = evidence["result"].get("pareto") or []
    names = list(dict.fromkeys(name for one in front for name in one))
    headings = [name.removesuffix("_s").removesuffix("_bytes").replace("_", " ") for name in names]
    return headings, [[_cell(name, one.get(name)) for name in names] for one in front]


def _cell(name: str, value: object) -> str:
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return NOTHING if value is None else str(value)
    if name.endswith("_bytes"):
        return size(int(value))
    return duration(value) if name.endswith("_s") else f"{value:.4g}"


def ratio(value: float | None) -> str:
    """2.0 as 2.00x."""
    return NOTHING if value is None else f"{value:.2f}x"


def bounds(interval: Interval | None) -> str:
    return NOTHING if interval is None else f"{interval['low']:.2f} to {interval['high']:.2f}"


def change(reduction: float | None) -> str:
    """A share that something is less of, as a signed change: 0.4 as -40.0 %."""
    return NOTHING if reduction is None else f"{-100 * reduction:+.1f} %".replace("-0.0", "0.0").replace("+0.0", "0.0")


def share(value: float | None) -> str:
    """Four decimals, cut and never rounded up: what is below a floor must not look as if it were on it."""
    return NOTHING if value is None else f"{math.floor(value * 10_000 + 1e-6) / 10_000:.4f}"


def figures(finding: Finding) -> tuple[str, ...]:
    """As the columns speedup, its interval, throughput, memory, size, accuracy."""
    return (
        ratio(finding.speedup and finding.speedup["value"]),
        bounds(finding.speedup),
        ratio(finding.throughput and finding.throughput["value"]),
        change(finding.memory_reduction),
        change(finding.size_reduction),
        share(finding.accuracy),
    )


def _finding(candidate: Candidate, *, is_chosen: bool) -> Finding:
    comparison, accuracy = candidate["comparison"], candidate["accuracy"]
    return Finding(
        name=candidate["name"],
        level=candidate["level"],
        status=candidate["status"],
        reason=candidate["reason"] or (_NOISE if candidate["name"] == BASELINE and comparison else None),
        is_chosen=is_chosen,
        accuracy=None if accuracy is None else accuracy["value"],
        speedup=None if comparison is None else comparison["speedup"],
        throughput=None if comparison is None else comparison["throughput_ratio"],
        memory_reduction=None if comparison is None else memory_reduction(comparison),
        size_reduction=None if comparison is None else size_reduction(comparison),
    )


def memory_reduction(comparison: Comparison) -> float | None:
    return _reduction(comparison["candidate"].get("pss_bytes"), comparison["baseline"].get("pss_bytes"))


def size_reduction(comparison: Comparison) -> float | None:
    return _reduction(comparison["candidate"].get("size_bytes"), comparison["baseline"].get("size_bytes"))


def _reduction(ours: int | None, theirs: int | None) -> float | None:
    return None if ours is None or not theirs else 1 - ours / theirs


def _reductions(comparison: Comparison) -> list[str]:
    told = (("memory", memory_reduction(comparison)), ("files", size_reduction(comparison)))
    return [f"{what} {change(reduction)}" for what, reduction in told if reduction is not None]
