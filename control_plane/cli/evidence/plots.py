"""Plots of what an optimization measured, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import TYPE_CHECKING

from control_plane.cli.evidence.drawing import Markup, Scale, drawing, element, label, line, scale_over
from control_plane.cli.evidence.findings import BASELINE, Finding, bounds, ratio, samples_of, share

if TYPE_CHECKING:
    from tritonplane_client.optimization_schemas import Comparison, Final, Interval

WIDTH = 860.0
NAMES, VALUES = 226.0, 168.0  # room for the names on the left, for the numbers on the right
ROW, AXIS, TOP = 34.0, 34.0, 14.0
LETTERS = 26  # of a name that fit into NAMES
_LABEL_HEIGHT, _NAME_WIDTH = 14.0, 200.0
_BEYOND = 1.8  # a sample slower than so many p95 is counted, not drawn: it would squeeze the others


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    speedup: Interval
    class_: str


def speedups(findings: Sequence[Finding], finals: Sequence[Final]) -> Markup | None:
    """A dot and its 95 % interval for each candidate that was measured; a ring for those that were measured again."""
    rows = [
        _Row(finding.name, finding.speedup, "chosen" if finding.is_chosen else "other")
        for finding in findings
        if finding.speedup is not None
    ]
    if not rows:
        return None
    classes = {row.name: row.class_ for row in rows}
    for final in finals:
        name = final["name"]
        rows.append(_Row(_again(name), final["comparison"]["speedup"], f"{classes.get(name, 'other')} again"))
    bottom = TOP + ROW * len(rows)
    edges = [1.0, *(edge for row in rows for edge in (row.speedup["low"], row.speedup["high"]))]
    scale = scale_over(edges, NAMES, WIDTH - VALUES)
    parts = [*_axis(scale, bottom, "times as fast as the baseline", "{:g}x")]
    parts.append(line(scale.at(1.0), TOP - 6, scale.at(1.0), bottom, "one"))
    for number, row in enumerate(rows):
        parts.append(_interval(row, scale, TOP + ROW * (number + 0.5)))
    return drawing("Speedup of each candidate with its 95 % interval", WIDTH, bottom + AXIS + 12, parts)


def latencies(comparison: Comparison, winner: str) -> Markup:
    """Every latency of the baseline and of the winner: a strip of samples, and a box from quartile to quartile."""
    rounds = comparison["latency"]
    rows = [
        (BASELINE, [1000 * value for value in samples_of(rounds["baseline"])], "other"),
        (winner, [1000 * value for value in samples_of(rounds["candidate"])], "chosen"),
    ]
    far = _BEYOND * max(_percentile(values, 95) for _, values, _ in rows)
    scale = scale_over([value for _, values, _ in rows for value in values if value <= far], NAMES, WIDTH - VALUES)
    height = 78.0
    bottom = TOP + height * len(rows)
    parts = [*_axis(scale, bottom, "milliseconds a request", "{:g}")]
    for number, (name, values, class_) in enumerate(rows):
        parts += _strip(name, values, class_, scale, TOP + height * number)
    return drawing("Latency of every request that was measured", WIDTH, bottom + AXIS + 12, parts)


def accuracies(findings: Sequence[Finding], floor: float | None) -> Markup | None:
    """Accuracy against speedup; what lies up and to the right is better."""
    found = [
        (finding, finding.speedup["value"], finding.accuracy)
        for finding in findings
        if finding.speedup is not None and finding.accuracy is not None
    ]
    if not found:
        return None
    height, left, right = 300.0, 70.0, WIDTH - 30
    across = scale_over([1.0, *(speedup for _, speedup, _ in found)], left, right, margin=0.12)
    floors = [] if floor is None else [floor]
    up = scale_over([1.0, *(accuracy for _, _, accuracy in found), *floors], height, TOP)
    if up.high - up.low < 1e-6 or min(accuracy for _, _, accuracy in found) == 1.0:
        up = replace(up, low=0.99, high=1.001)
    parts = [*_axis(across, height, "times as fast as the baseline", "{:g}x"), *_side_axis(up, left, right)]
    parts.append(line(across.at(1.0), TOP, across.at(1.0), height, "one"))
    if floor is not None:
        parts += [line(left, up.at(floor), right, up.at(floor), "floor")]
        parts.append(label(right, up.at(floor) - 5, f"floor {floor:g}", "axis", "end"))
    parts += _points(found, across, up)
    return drawing("Accuracy of each candidate against its speedup", WIDTH, height + AXIS + 12, parts)


def _axis(scale: Scale, y: float, title: str, form: str) -> Iterator[Markup]:
    for tick in scale.ticks():
        yield line(scale.at(tick), TOP, scale.at(tick), y, "grid")
        yield label(scale.at(tick), y + 17, form.format(tick), "axis", "middle")
    yield label((scale.start + scale.end) / 2, y + AXIS + 4, title, "axis title", "middle")


def _side_axis(scale: Scale, left: float, right: float) -> Iterator[Markup]:
    for tick in scale.ticks(5):
        yield line(left, scale.at(tick), right, scale.at(tick), "grid")
        yield label(left - 8, scale.at(tick) + 4, f"{tick:g}", "axis", "end")
    yield label(left - 8, TOP - 4, "accuracy", "axis title", "end")


def _interval(row: _Row, scale: Scale, y: float) -> Markup:
    speedup = row.speedup
    low, high, middle = scale.at(speedup["low"]), scale.at(speedup["high"]), scale.at(speedup["value"])
    return element(
        "g",
        element("title", f"{row.name}: {ratio(speedup['value'])}, 95 %: {bounds(speedup)}"),
        label(NAMES - 14, y + 4, _short(row.name), "label", "end"),
        line(low, y, high, y, "interval"),
        *(line(end, y - 5, end, y + 5, "interval") for end in (low, high)),
        element("circle", cx=middle, cy=y, r=5.5, class_="dot"),
        label(WIDTH - VALUES + 12, y + 4, ratio(speedup["value"]), "value"),
        label(WIDTH - VALUES + 72, y + 4, f"{speedup['low']:.2f} – {speedup['high']:.2f}", "axis"),
        class_=row.class_,
    )


def _strip(name: str, values: list[float], class_: str, scale: Scale, top: float) -> Iterator[Markup]:
    middle, box = top + 24, top + 40
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    shown = [value for value in values if scale.holds(value)]
    dots = [
        # Spread by their number, so that equal samples are seen side by side, and the page is the same each time.
        element("circle", cx=scale.at(value), cy=middle - 9 + 6.1 * (number * 7 % 4), r=2, class_="sample")
        for number, value in enumerate(shown)
    ]
    edges = [scale.at(min(value, scale.high)) for value in (_percentile(values, 5), _percentile(values, 95))]
    yield element(
        "g",
        label(NAMES - 14, middle + 8, _short(name), "label", "end"),
        *dots,
        line(edges[0], box + 9, edges[1], box + 9, "interval"),
        element("rect", x=scale.at(low), y=box, width=scale.at(high) - scale.at(low) + 1, height=18, class_="box"),
        line(scale.at(median(values)), box - 2, scale.at(median(values)), box + 20, "median"),
        label(WIDTH - VALUES + 12, middle + 2, f"{median(values):.3g} ms", "value"),
        label(WIDTH - VALUES + 12, middle + 18, f"{len(values)} samples", "axis"),
        *_uncounted(len(values) - len(shown), middle + 34),
        class_=class_,
    )


def _uncounted(beyond: int, y: float) -> list[Markup]:
    return [label(WIDTH - VALUES + 12, y, f"{beyond} beyond", "axis")] if beyond else []


def _points(found: Sequence[tuple[Finding, float, float]], across: Scale, up: Scale) -> Iterator[Markup]:
    """Names are moved down where they would cover each other."""
    placed: list[tuple[float, float]] = []
    for finding, speedup, accuracy in sorted(found, key=lambda one: -one[2]):
        x, y = across.at(speedup), up.at(accuracy)
        anchor = "end" if x > WIDTH * 0.7 else "start"
        name_y = max([y + 4, *(below + _LABEL_HEIGHT for near, below in placed if abs(near - x) < _NAME_WIDTH)])
        placed.append((x, name_y))
        yield element(
            "g",
            element("title", f"{finding.name}: {ratio(speedup)}, accuracy {share(accuracy)}"),
            element("circle", cx=x, cy=y, r=6, class_="dot"),
            label(x + (11 if anchor == "start" else -11), name_y, _short(finding.name), "label", anchor),
            class_="chosen" if finding.is_chosen else "other",
        )


def _percentile(values: Sequence[float], percent: int) -> float:
    """The nearest of the values, which may be few."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def _again(name: str) -> str:
    return f"{_short(name, LETTERS - len(', again'))}, again"


def _short(name: str, letters: int = LETTERS) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
