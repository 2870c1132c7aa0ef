"""How a benchmark's figures are made of what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.load import Load, grpc_frame
from benchmarks.report import Ratio, Row, ratios, table, write


def row(way: str, number: int, requests_per_s: float, **changes: float) -> Row:
    fixed = {"requests": 100, "failures": 0, "p50_ms": 1.0, "p99_ms": 2.0}
    cost = {"front_cpu_us": 3.0, "triton_cpu_us": 4.0, "client_cpu_us": 5.0, "other_cores": 0.25}
    named = {"case": "tensors", "concurrency": 8, "way": way, "round": number, "requests_per_s": requests_per_s}
    return Row(**{**named, **fixed, **cost, **changes})  # type: ignore[arg-type]


ROWS = [
    row("Triton", 0, 1000), row("REST", 0, 500), row("Triton", 1, 4000), row("REST", 1, 1000, failures=2),
    row("Triton", 2, 2000), row("REST", 2, 1600),
]  # fmt: skip


def test_a_ratio_compares_the_two_ways_of_one_round_and_takes_the_median_round() -> None:
    assert ratios(ROWS) == [Ratio("tensors", 8, ratio=0.5, lowest=0.25, highest=0.8)]


def test_the_table_has_a_line_for_each_way_with_the_median_and_all_failures() -> None:
    triton, rest = table(ROWS).splitlines()[2:]
    assert triton.startswith("| tensors | 8 | Triton | 2000 | 1.00 | 2.00 | 3 | 4 | 5 | 0.25 | 0 |")
    assert rest.startswith("| tensors | 8 | REST | 1000 |")
    assert rest.endswith("| 2 |")


def test_a_result_is_named_by_date_and_processor_and_keeps_every_round(tmp_path: Path) -> None:
    written = write(ROWS, {"processor": "AMD EPYC (TM), 2 cores"}, tmp_path)
    assert written.name.endswith("-amd-epyc-tm-2-cores.json")
    kept = json.loads(written.read_text())
    assert len(kept["rows"]) == len(ROWS)
    assert kept["ratios"] == [{"case": "tensors", "concurrency": 8, "ratio": 0.5, "lowest": 0.25, "highest": 0.8}]
    assert "| tensors | 8 | **0.50** | 0.25 to 0.80 |" in written.with_suffix(".md").read_text()


def test_percentiles_are_of_the_answers_that_came() -> None:
    load = Load([number / 100 for number in range(1, 101)], failures=3, took_s=2.0, client_cpu_s=0.1)
    assert (load.percentile_s(0.5), load.percentile_s(0.99), load.requests_per_s) == (0.51, 1.0, 50)
    assert Load([0.25], 0, 1.0, 0.0).percentile_s(0.99) == 0.25


def test_a_grpc_frame_has_the_length_before_the_message() -> None:
    assert grpc_frame(b"abc") == b"\0\0\0\0\x03abc"
