"""The tables on the page of an optimization."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from control_plane.cli.console import NOTHING, duration, size
from control_plane.cli.evidence.drawing import Content, Markup, element, joined
from control_plane.cli.evidence.findings import Finding, bounds, decisive_final, figures, pareto_of, ratio

if TYPE_CHECKING:
    from tritonplane_client.optimization_schemas import Candidate, Comparison, Evidence

NUMBER = "num"


def candidates(findings: Sequence[Finding]) -> Markup:
    headings = ("Recipe", "Level", "", "Speedup", "95 % interval", "Throughput", "Memory", "Size", "Accuracy", "Why")
    rows = [
        element(
            "tr",
            element("th", finding.name, scope="row"),
            element("td", finding.level),
            element("td", _pill(finding)),
            *(element("td", text, class_=NUMBER) for text in figures(finding)),
            element("td", finding.reason or "", class_="reason"),
            class_="chosen" if finding.is_chosen else None,
        )
        for finding in findings
    ]
    return _table(headings, rows, numbers=range(3, 9))


def _pill(finding: Finding) -> Markup:
    word = "chosen" if finding.is_chosen else finding.status
    return element("span", word, class_=f"pill {word}")


def finals(evidence: Evidence) -> Markup | None:
    """The best few on fresh samples; a winner is better at the lower end of 99.9 %."""
    rows = [
        element(
            "tr",
            element("th", final["name"], scope="row"),
            *(element("td", text, class_=NUMBER) for text in _final_numbers(final["comparison"])),
            element("td", final.get("reason") or ("it stands" if final.get("stands") else ""), class_="reason"),
        )
        for final in evidence["finals"]
    ]
    headings = ("Recipe", "Speedup", "95 % interval", "99.9 % lower end", "Throughput", "Verdict")
    return _table(headings, rows, numbers=range(1, 5)) if rows else None


def pareto(evidence: Evidence) -> Markup | None:
    """Of a joint search: the ways to serve that no other one beats in everything."""
    headings, front = pareto_of(evidence)
    rows = [
        element("tr", element("th", name, scope="row"), *(element("td", text, class_=NUMBER) for text in rest))
        for name, *rest in front
    ]
    return _table(headings, rows, numbers=range(1, len(headings))) if rows else None


def _final_numbers(comparison: Comparison) -> tuple[str, ...]:
    speedup = comparison["speedup"]
    low_999 = ratio(speedup["low_999"])
    return (ratio(speedup["value"]), bounds(speedup), low_999, ratio(comparison["throughput_ratio"]["value"]))


def servings(comparison: Comparison, *, is_better: bool) -> Markup:
    sides = [comparison["baseline"], comparison["candidate"]] if is_better else [comparison["baseline"]]
    told: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
        ("Latency, median", lambda one: duration(one["latency_p50_s"])),
        ("Latency, 95th percentile", lambda one: duration(one["latency_p95_s"])),
        (
            "Throughput",
            lambda one: f"{one['throughput']:.4g}/s at {one.get('concurrency', NOTHING)} requests at a time",
        ),
        ("Tokens", lambda one: _rate(one.get("tokens_per_second"))),
        ("Memory of its processes", lambda one: size(one.get("pss_bytes"))),
        ("Files", lambda one: size(one["size_bytes"])),
    )
    rows = [
        element("tr", element("th", name, scope="row"), *(element("td", tell(side)) for side in sides))
        for name, tell in told
        if any(tell(side) != NOTHING for side in sides)
    ]
    return _table(("", "Baseline", "Winner")[: len(sides) + 1], rows)


def _rate(tokens_per_s: float | None) -> str:
    return NOTHING if tokens_per_s is None else f"{tokens_per_s:.1f}/s"


def making(evidence: Evidence) -> Markup | None:
    """Steps, settings and files of the winner."""
    final = decisive_final(evidence)
    if final is None:
        return None
    winner: Candidate = next(one for one in evidence["candidates"] if one["name"] == final["name"])
    steps = [f"{step.get('recipe')} {json.dumps(step.get('parameters', {}))}" for step in winner["steps"]]
    files = [f"{file['path']} {size(file['size_bytes'])} sha256:{file['sha256']}" for file in winner["artifacts"]]
    return facts({"steps": steps or "none", "settings": winner["settings"] or "the baseline's", "files": files})


def facts(known: Mapping[str, Any]) -> Markup:
    rows = [
        element("tr", element("th", name.replace("_", " "), scope="row"), element("td", _told(value)))
        for name, value in known.items()
        if value not in (None, [], {})
    ]
    return element("table", element("tbody", *rows), class_="facts")


def _told(value: object) -> Content:
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        if any(" " in one for one in value):
            return joined([element("div", element("code", one)) for one in value])
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)


def folded(summary: str, value: Mapping[str, Any]) -> Markup | None:
    if not value:
        return None
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return element("details", element("summary", summary), element("pre", text))


def _table(headings: Sequence[str], rows: Iterable[Markup], numbers: Sequence[int] = ()) -> Markup:
    cells = [
        element("th", heading, scope="col", class_=NUMBER if position in numbers else None)
        for position, heading in enumerate(headings)
    ]
    return element("table", element("thead", element("tr", *cells)), element("tbody", *rows))
