"""Pieces of SVG and HTML, escaped, and the scale of an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)  # an axis counts in these, times a power of ten
# What no XML may hold, not even escaped.
_UNPRINTABLE = {code: "\ufffd" for code in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000))}


@dataclass(frozen=True, slots=True)
class Markup:
    """What is markup already and is not escaped again."""

    text: str


Content = str | Markup


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the values from `low` to `high` lie between two places of a drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self, wanted: int = 6) -> list[float]:
        """Round values, about as many as wanted."""
        rough = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * nice for nice in _NICE if power * nice >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


def scale_over(values: Iterable[float], start: float, end: float, margin: float = 0.08) -> Scale:
    """Holds all values with some room beside them; also where they are all one."""
    known = list(values)
    low, high = min(known), max(known)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return Scale(low - room, high + room, start, end)


def element(tag: str, *contents: Content, **attributes: object) -> Markup:
    """`class_` and `stroke_width` are written as `class` and `stroke-width`; attributes that are None are left out."""
    told = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = joined(contents).text
    return Markup(f"<{tag}{told}>{inside}</{tag}>")


def joined(contents: Iterable[Content], between: str = "") -> Markup:
    return Markup(between.join(one.text if isinstance(one, Markup) else escaped(one) for one in contents))


def escaped(text: str) -> str:
    return escape(text.translate(_UNPRINTABLE), quote=True)


def drawing(title: str, width: float, height: float, parts: Iterable[Markup]) -> Markup:
    """An SVG that is as wide as its place; `title` is what a screen reader says."""
    return element(
        "svg",
        element("title", title),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        xmlns="http://www.w3.org/2000/svg",
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def label(x: float, y: float, text: str, class_: str = "label", anchor: str = "start") -> Markup:
    return element("text", text, x=x, y=y, class_=class_, text_anchor=anchor)
