"""Weights are counted as what they are, wherever a graph keeps them."""

from __future__ import annotations

import pytest

from converters.graph import BrokenGraph, GraphFacts, read_graph
from tests.doubles.onnx_files import (
    BFLOAT16,
    FLOAT,
    INT64,
    UINT8,
    adder,
    graph,
    message,
    model,
    node,
    number,
    tensor,
    text,
    value,
)

X = [value("x", ["batch", 4])]
Y = [value("y", ["batch", 4])]


def facts_of(nodes: list[bytes], tensors: list[bytes]) -> GraphFacts:
    return read_graph(model(graph(nodes, X, Y, tensors)))


def test_weights_are_counted_and_shapes_are_not() -> None:
    facts = facts_of([], [tensor("w", [4, 5]), tensor("b", [5]), tensor("shape", [2], INT64), tensor("one", [])])

    assert facts == GraphFacts(parameters=26, dtype="float32", opset=17, external_files=frozenset())


def test_the_dtype_is_that_of_most_weights() -> None:
    assert facts_of([], [tensor("w", [9], BFLOAT16), tensor("b", [8], FLOAT)]).dtype == "bfloat16"
    assert facts_of([], []).dtype is None


@pytest.mark.parametrize(("bits", "parameters", "dtype"), [(8, 64, "int8"), (4, 128, "int4"), (2, 256, "int2")])
def test_packed_weights_are_counted_one_by_one(bits: int, parameters: int, dtype: str) -> None:
    attribute = text(1, "bits") + number(3, bits)
    packed = node("MatMulNBits", ["x", "w"], ["y"], attribute, domain="com.microsoft")

    facts = facts_of([packed], [tensor("w", [4, 1, 16], UINT8)])

    assert (facts.parameters, facts.dtype) == (parameters, dtype)


def test_subgraphs_and_constants_hold_weights_too() -> None:
    branch = graph([], [], Y, [tensor("inner", [7])])
    deeper = graph([node("If", ["c"], ["y"], text(1, "then_branch") + message(6, branch))], [], Y)
    nodes = [
        node("If", ["c"], ["y"], text(1, "then_branch") + message(6, deeper)),
        node("Constant", [], ["k"], text(1, "value") + message(5, tensor("", [11]))),
    ]

    assert facts_of(nodes, [tensor("outer", [100])]).parameters == 118


def test_files_beside_the_graph_are_named_wherever_they_are_asked_for() -> None:
    branch = graph([], [], Y, [tensor("inner", [7], location="/etc/passwd")])
    nodes = [node("If", ["c"], ["y"], text(1, "then_branch") + message(6, branch))]

    facts = facts_of(nodes, [tensor("outer", [100], location="model.data")])

    assert facts.external_files == {"/etc/passwd", "model.data"}


def test_the_opset_is_the_standard_one() -> None:
    other = message(8, text(1, "com.microsoft"), number(2, 99))

    assert read_graph(adder(tensor("w", [4])) + other).opset == 17


def nested(depth: int) -> bytes:
    content = graph([], [], Y)
    for _ in range(depth):
        content = graph([node("If", ["c"], ["y"], text(1, "then_branch") + message(6, content))], [], Y)
    return model(content)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"{}", adder(tensor("w", [4]))[:-40], nested(500), b"\xff" * 100, number(1, 8)]
)
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(BrokenGraph):
        read_graph(content)
