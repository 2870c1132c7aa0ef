"""An optimization as one page: no script, nothing from outside, all of it escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from control_plane.cli.console import NOTHING, duration, size, time
from control_plane.cli.evidence.drawing import Content, Markup, element
from control_plane.cli.evidence.findings import (
    BASELINE,
    bounds,
    change,
    decisive_final,
    findings_of,
    memory_reduction,
    ratio,
    share,
    size_reduction,
    verdict,
    whereabouts,
)
from control_plane.cli.evidence.page_tables import candidates, facts, finals, folded, making, pareto, servings
from control_plane.cli.evidence.plots import accuracies, latencies, speedups
from control_plane.cli.evidence.style import CSS

if TYPE_CHECKING:
    from tritonplane_client.optimization_schemas import Comparison, Evidence, OptimizationStatus

_ABOUT_SPEEDUPS = (
    "Median latency of the baseline over that of the candidate, measured in turns on the same machine. The line is the "
    "95 % interval, a ring a second measurement on fresh samples; the baseline beside itself shows what noise is here."
)
_ABOUT_LATENCIES = (
    "Each dot is one request; the box goes from quartile to quartile, the line from the 5th to the 95th percentile."
)
_ABOUT_ACCURACIES = (
    "How alike a candidate and the baseline answer on inputs that nothing was tuned on. Up and to the right is better; "
    "what was rejected for its accuracy was not measured further, and stands in the table."
)


def page(evidence: Evidence, status: OptimizationStatus) -> str:
    """The whole document."""
    title = f"Optimization of {evidence['model']}:{evidence['baseline_revision']}"
    head = element(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{title} - tritonplane"),
        element("style", Markup(CSS)),
    )
    body = element("body", element("main", *_sections(evidence, status, title)))
    return f"<!doctype html>\n{element('html', head, body, lang='en').text}\n"


def _sections(evidence: Evidence, status: OptimizationStatus, title: str) -> Iterator[Markup]:
    findings, final = findings_of(evidence), decisive_final(evidence)
    comparison = final["comparison"] if final else _beside_itself(evidence)
    yield _header(evidence, status, title)
    if comparison is not None:
        yield _tiles(evidence, comparison, is_better=final is not None)
    yield from _figure("How fast each candidate is", speedups(findings, evidence["finals"]), _ABOUT_SPEEDUPS)
    if comparison is not None:
        plot = latencies(comparison, final["name"] if final else "baseline again")
        yield from _figure("Every request", plot, _ABOUT_LATENCIES)
    floor = evidence["options"].get("min_accuracy")
    yield from _figure("Accuracy against speed", accuracies(findings, floor), _ABOUT_ACCURACIES)
    yield from _section("Candidates", candidates(findings))
    yield from _section("Measured again", finals(evidence))
    yield from _section(
        "Baseline and winner", servings(comparison, is_better=final is not None) if comparison else None
    )
    yield from _section("What no other way to serve beats in everything", pareto(evidence))
    yield from _section("How the winner is made", making(evidence))
    yield from _section("What was asked for", facts(evidence["options"]))
    yield from _section(
        "Where it was measured", facts({**evidence["machine"], **evidence["result"].get("environment", {})})
    )
    yield from _section("Tools", folded("versions, conversion steps and checks", evidence["tools"]))
    yield element(
        "footer",
        f"Evidence schema {evidence['schema']}. The same numbers, with every raw sample, are in evidence.json.",
    )


def _header(evidence: Evidence, status: OptimizationStatus, title: str) -> Markup:
    kicker = [evidence["optimization_id"], f"level {status['optimization_level']}", time(status["completed_at"])]
    return element(
        "header",
        element("p", " · ".join(kicker), class_="kicker"),
        element("h1", title),
        element("p", verdict(evidence), class_="lede"),
        element("p", *_with_code(" ".join(whereabouts(evidence))), class_="hint"),
    )


def _with_code(text: str) -> Iterator[Content]:
    """What stands between backticks is code."""
    for position, part in enumerate(text.split("`")):
        yield element("code", part) if position % 2 else part


def _tiles(evidence: Evidence, comparison: Comparison, *, is_better: bool) -> Markup:
    baseline, candidate = comparison["baseline"], comparison["candidate"]
    tiles = [_accuracy_tile(evidence)]
    if is_better:
        speedup, throughput = comparison["speedup"], comparison["throughput_ratio"]
        tiles = [
            _tile("Speedup", ratio(speedup["value"]), f"95 %: {bounds(speedup)}", "tile good"),
            _tile("Throughput", ratio(throughput["value"]), f"95 %: {bounds(throughput)}"),
            _tile("Memory", change(memory_reduction(comparison)), _from_to(baseline, candidate, "pss_bytes")),
            _tile("Files", change(size_reduction(comparison)), _from_to(baseline, candidate, "size_bytes")),
            *tiles,
        ]
    else:
        tiles = [
            _tile("Speedup", ratio(1.0), f"noise here: {bounds(comparison['speedup'])}"),
            _tile("Latency", duration(baseline["latency_p50_s"]), "median of the baseline"),
            _tile("Files", size(baseline["size_bytes"]), "of the baseline"),
            *tiles,
        ]
    return element("dl", *tiles, class_="tiles")


def _accuracy_tile(evidence: Evidence) -> Markup:
    accuracy = evidence["result"].get("accuracy")
    if accuracy is None:
        return _tile("Accuracy", NOTHING, "not measured")
    few = "only " if accuracy.get("low_evidence") else ""
    return _tile("Accuracy", share(accuracy["value"]), f"{accuracy['metric']} on {few}{accuracy['samples']} inputs")


def _tile(name: str, number: str, detail: str, class_: str = "tile") -> Markup:
    told = element("dd", element("div", number, class_="number"), element("div", detail, class_="detail"))
    return element("div", element("dt", name), told, class_=class_)


def _from_to(before: Mapping[str, Any], after: Mapping[str, Any], name: str) -> str:
    return f"{size(before.get(name))} to {size(after.get(name))}"


def _section(title: str, content: Markup | None) -> Iterator[Markup]:
    if content is not None:
        yield element("h2", title)
        yield element("div", content, class_="card")


def _figure(title: str, plot: Markup | None, caption: str) -> Iterator[Markup]:
    if plot is not None:
        yield element("h2", title)
        yield element("p", caption, class_="hint")
        yield element("figure", plot)


def _beside_itself(evidence: Evidence) -> Comparison | None:
    """The baseline measured against itself: what noise is."""
    found = (one["comparison"] for one in evidence["candidates"] if one["name"] == BASELINE)
    return next(found, None)
