"""The page of an optimization: whole, self-contained, and nothing in it is obeyed."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from control_plane.cli.evidence.drawing import escaped, scale_over
from control_plane.cli.evidence.findings import change, findings_of, pareto_of, share
from control_plane.cli.evidence.page import page
from tests.doubles.optimizations import told

HOSTILE = "</style><script>alert(1)</script>\"'&\x00\x1b[2J"
STATUS: Any = {"status": "completed", "optimization_level": "divine", "completed_at": "2026-11-21T12:00:00.000Z"}
VOID = {"meta"}


class Balanced(HTMLParser):
    """Every element is closed where it was opened; `seen` counts them, `attributes` are all there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def evidence(**changes: Any) -> Any:
    found: Any = told("opt_1", "coder", baseline_wins=changes.pop("baseline_wins", False))[1]
    return {**found, **changes}


def parsed(found: Any) -> Balanced:
    read = Balanced(page(found, STATUS))
    assert read.open == []
    return read


@pytest.mark.parametrize(("baseline_wins", "said"), [(False, "int8-dynamic won: 2.00x"), (True, "The baseline won")])
def test_the_page_says_what_won_and_shows_every_candidate_and_three_plots(*, baseline_wins: bool, said: str) -> None:
    read = parsed(evidence(baseline_wins=baseline_wins))
    assert said in read.text
    for name in ("baseline", "threads-1", "int8-dynamic", "weights-4bit", "tensorrt-fp16"):
        assert name in read.text
    assert "accuracy: cosine is 0.9312, below 0.99" in read.text
    assert "A processor <of the tests>" in read.text
    assert read.seen.count("svg") == 3


def test_the_page_needs_nothing_from_outside_and_no_script() -> None:
    text = page(evidence(), STATUS)
    read = Balanced(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(read.seen)
    assert not {"src", "href", "srcset", "action", "style"} & {name for name, _ in read.attributes}
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_drawings_are_well_formed_and_hold_every_sample() -> None:
    drawings = re.findall(r"<svg.*?</svg>", page(evidence(), STATUS), re.DOTALL)
    speedups, latencies, accuracies = (ElementTree.fromstring(text) for text in drawings)
    assert len(speedups.findall(".//*[@class='dot']")) == 4, "three were measured, one of them again"
    assert len(latencies.findall(".//*[@class='sample']")) == 72, "36 of each side"
    assert len(accuracies.findall(".//*[@class='dot']")) == 3
    for drawing in (speedups, latencies, accuracies):
        _, _, width, height = map(float, drawing.attrib["viewBox"].split())
        for mark in drawing.iter("{http://www.w3.org/2000/svg}circle"):
            assert 0 <= float(mark.attrib["cx"]) <= width
            assert 0 <= float(mark.attrib["cy"]) <= height


def test_a_long_name_and_a_large_speedup_fit_into_the_plot() -> None:
    found, name = evidence(), "weights-q8-fine-but-output"
    found["finals"][0]["name"] = found["result"]["chosen_recipe"] = found["candidates"][2]["name"] = name
    found["candidates"][2]["comparison"]["speedup"] |= {"value": 100.25, "low": 88.25, "high": 121.67}
    plot = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", page(found, STATUS), re.DOTALL)[0])
    width = float(plot.attrib["viewBox"].split()[2])
    texts = {mark.text or "": mark.attrib for mark in plot.iter("{http://www.w3.org/2000/svg}text")}
    names = [text for text in texts if text.startswith("weights")]
    assert [names[0], names[1][-7:]] == [name, ", again"]
    # Units of the drawing: a bold letter of 12.5 takes 7.9 in DejaVu Sans, the widest of the usual fonts, a digit 7.4.
    assert float(texts[name]["x"]) >= 7.9 * len(name)
    assert float(texts[names[1]]["x"]) >= 7.9 * len(names[1])
    interval = texts["88.25 – 121.67"]
    assert float(texts["100.25x"]["x"]) + 7.9 * len("100.25x") <= float(interval["x"]) <= width - 6.6 * 14


def test_a_slow_outlier_is_counted_and_does_not_squeeze_the_plot() -> None:
    found = evidence()
    found["finals"][0]["comparison"]["latency"]["baseline"][0][0] = 5.0
    text = page(found, STATUS)
    assert "1 beyond" in text
    assert "5000" not in re.findall(r"<svg.*?</svg>", text, re.DOTALL)[1]


def test_what_a_model_or_file_is_called_is_shown_and_not_obeyed() -> None:
    found = evidence(model=HOSTILE, tools={HOSTILE: [HOSTILE]}, machine={HOSTILE: HOSTILE}, options={HOSTILE: HOSTILE})
    for candidate in found["candidates"]:
        candidate |= {"reason": HOSTILE, "level": HOSTILE}
        if candidate["name"] == "int8-dynamic":
            candidate |= {"settings": {HOSTILE: HOSTILE}, "steps": [{"recipe": HOSTILE, "parameters": {HOSTILE: 1}}]}
    found["finals"][0]["name"] = found["result"]["chosen_recipe"] = found["candidates"][2]["name"] = HOSTILE
    text = page(found, STATUS)
    read = Balanced(text)
    assert read.open == []
    assert "script" not in read.seen
    assert "alert(1)" in read.text
    assert not re.search(r"[\x00\x1b]", text)


def test_the_front_of_a_joint_search_is_a_table_in_units_that_people_read() -> None:
    found = evidence()
    assert "no other way to serve" not in page(found, STATUS)
    front = [
        {"name": "one instance", "latency_p99_s": 0.0123, "throughput": 80.0, "memory_bytes": 2**20, "accuracy": 1.0},
        {"name": "two <b>", "latency_p99_s": 0.02, "throughput": 120.0, "memory_bytes": None, "accuracy": 0.995},
    ]
    found["result"]["pareto"] = front
    assert pareto_of(found) == (
        ["name", "latency p99", "throughput", "memory", "accuracy"],
        [["one instance", "12.3 ms", "80", "1.0 MiB", "1"], ["two <b>", "20 ms", "120", "-", "0.995"]],
    )
    read = parsed(found)
    assert "What no other way to serve beats in everything" in read.text
    assert "two <b>" in read.text


def test_what_was_not_measured_is_left_out() -> None:
    found = evidence(finals=[], machine={}, tools={})
    found["candidates"] = [{**one, "comparison": None, "accuracy": None} for one in found["candidates"]]
    found["result"] |= {"chosen_recipe": "baseline", "accuracy": None, "optimized_model_id": None}
    read = parsed(found)
    assert "svg" not in read.seen
    assert "tensorrt-fp16" in read.text


def test_reductions_and_accuracies_are_written_as_they_are() -> None:
    assert [change(value) for value in (0.4, -0.25, 0.0, -0.0, 0.0001, -0.0001, None)] == [
        "-40.0 %",
        "+25.0 %",
        "0.0 %",
        "0.0 %",
        "0.0 %",
        "0.0 %",
        "-",
    ]
    assert [share(value) for value in (1.0, 0.98999, 0.99, 0.0, None)] == ["1.0000", "0.9899", "0.9900", "0.0000", "-"]


def test_a_candidate_is_measured_against_the_baseline_it_was_measured_with() -> None:
    found = {finding.name: finding for finding in findings_of(evidence())}
    assert [name for name, finding in found.items() if finding.is_chosen] == ["int8-dynamic"]
    assert found["int8-dynamic"].memory_reduction == pytest.approx(0.4)
    assert found["int8-dynamic"].size_reduction == pytest.approx(0.75)
    assert found["threads-1"].memory_reduction is None
    assert found["tensorrt-fp16"].speedup is None


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [1e-9, 1e-8], [-3.0, 400.0], [0.999999, 1.0]])
def test_an_axis_has_some_round_ticks_whatever_it_holds(values: list[float]) -> None:
    scale = scale_over(values, 10, 90)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 9
    assert all(scale.holds(tick) for tick in ticks)
    assert all(10 <= scale.at(value) <= 90 for value in values)
    assert escaped("\ud800<") == "\ufffd&lt;"
