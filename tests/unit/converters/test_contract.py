"""The words between the control plane and a conversion child."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import converters
from control_plane.domain.imports import Precision
from converters.contract import (
    PRECISIONS,
    BrokenStream,
    Cataloged,
    ConversionRequest,
    Converted,
    Event,
    Facts,
    Failed,
    Inspected,
    Progressed,
    RecipeFact,
    StepRequest,
    TensorFact,
    from_line,
    request_from_json,
    request_to_json,
    to_line,
)

X = TensorFact("x", "FP32", (-1, 4))


@pytest.mark.parametrize(
    "event",
    [
        Inspected((X,), (X, TensorFact("é\n", "BYTES", ())), True, 10**12, "int8", 17),
        Failed("no\nmodel"),
        Failed("no", "NOT_SUPPORTED_HERE", {"requires": ["tensorrt"]}),
        Progressed(0.25, "half of the half"),
        Converted("/w/model", Facts("transformer", ("text-generation",), 10, "int8", 64, {"a": "b"}), {"steps": [{}]}),
        Cataloged((RecipeFact("a", "does a", True), RecipeFact("b", "does b", False, "no GPU"))),
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


@pytest.mark.parametrize(
    "asked",
    [
        ConversionRequest("/s"),
        ConversionRequest(
            "/s", "int8", (X,), (StepRequest("onnx_half", {"dtype": "fp16"}), StepRequest("b")), "/c.npz"
        ),
    ],
)
def test_a_request_goes_through_json(asked: ConversionRequest) -> None:
    assert request_from_json(json.loads(json.dumps(request_to_json(asked)))) == asked


@pytest.mark.parametrize("fields", [None, [], 3, {}, {"source": "/s", "size": 3}, {"source": "/s", "steps": [{}]}])
def test_anything_else_is_no_request(fields: object) -> None:
    with pytest.raises(BrokenStream, match="not a conversion request"):
        request_from_json(fields)


def test_the_contract_needs_nothing_but_the_standard_library() -> None:
    program = (
        f"import sys; sys.path.append({str(Path(converters.__file__).parents[1])!r}); import converters.contract;"
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] == 'converters'))"
    )
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    beyond = [name for name in ran.stdout.split() if not name.startswith("converters.contract")]
    assert beyond == ["converters"]


def test_both_sides_know_the_same_precisions() -> None:
    assert tuple(Precision) == PRECISIONS
