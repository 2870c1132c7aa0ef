"""The words between the control plane and a conversion child."""

from __future__ import annotations

import pytest

from converters.contract import BrokenStream, Event, Failed, Inspected, TensorFact, from_line, to_line

X = TensorFact("x", "FP32", (-1, 4))


@pytest.mark.parametrize(
    "event",
    [
        Inspected((X,), (X, TensorFact("é\n", "BYTES", ())), True, 10**12, "int8", 17),
        Failed("no\nmodel"),
    ],
)
def test_an_event_is_one_line_and_comes_back_equal(event: Event) -> None:
    assert "\n" not in to_line(event)
    assert from_line(to_line(event)) == event


@pytest.mark.parametrize(
    "line", ["", "noise", "[]", "{}", '{"event": "danced"}', '{"event": "inspected"}', '{"event": "failed"}', "null"]
)
def test_anything_else_is_a_broken_stream(line: str) -> None:
    with pytest.raises(BrokenStream):
        from_line(line)
