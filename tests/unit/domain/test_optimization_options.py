"""What callers may say of an optimization: texts, numbers and lists of any size end as options or as InvalidRequest."""

from __future__ import annotations

import json

import pytest

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.optimization_options import parse_options


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("recipes", [f"recipe-{number}" for number in range(10_000)], "up to 100 names, got 10000"),
        pytest.param("batch_size", 10**5000, "a value that is too long to show", id="huge number"),
        pytest.param("objective", 10**5000, "a value that is too long to show", id="huge word"),
        ("eval_data", "x" * 5000, "a text of up to 4096 characters"),
        ("baseline", "x" * 5000, "a text of up to 4096 characters"),
        ("min_accuracy", "nan", "a number from 0 to 1"),
        ("time_budget_seconds", True, "a number from 1"),
        ("batch_size", "1.5", "a whole number"),
    ],
)
def test_a_value_of_any_size_is_refused_in_a_short_sentence(name: str, value: object, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        parse_options("basic", {name: value})
    assert len(refused.value.message) < 300


def test_a_name_that_is_said_a_thousand_times_counts_once() -> None:
    options, _ = parse_options("basic", {"recipes": ["graph-basic"] * 1000})
    assert options.recipes == ("graph-basic",)


@pytest.mark.parametrize("text", ["graph-basic, int8", json.dumps(["graph-basic", "int8"])])
def test_names_come_as_json_or_with_commas_between_them(text: str) -> None:
    options, _ = parse_options("basic", {"recipes": text})
    assert options.recipes == ("graph-basic", "int8")


def test_json_too_deep_to_be_read_is_a_name_that_no_level_has() -> None:
    options, _ = parse_options("basic", {"recipes": "[" * 100_000})
    assert options.recipes == ("[" * 100_000,)


def test_rows_times_tokens_are_bounded_together() -> None:
    parse_options("basic", {"batch_size": 256, "sequence_length": 256})
    with pytest.raises(InvalidRequest, match="may be up to 65536, got 256 x 4096"):
        parse_options("basic", {"batch_size": 256, "sequence_length": 4096})
