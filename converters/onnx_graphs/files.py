"""Reading and writing the model.onnx of an artifact, for recipes that change graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.contract import Facts, TensorFact
from converters.formats import GRAPH, Artifact
from converters.recipe import Refused

WEIGHTS_FILE = f"{GRAPH}.data"
# A protobuf ends at 2 GiB; the graph itself needs some of it.
_INLINE_BYTES_MAX = 2**31 - 2**28


def load_graph(source: Artifact) -> Any:
    """The `onnx.ModelProto` with its weights, without the shapes that its exporter noted inside.

    Those shapes are left out because they name the tensors of the graph as it was: after a change they disagree.
    Raises: Refused.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(source.graph)
    except (DecodeError, OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise Refused(f"{GRAPH} cannot be read: {first_line(error)}") from error
    del model.graph.value_info[:]
    return model


def save_graph(model: Any, target: Path) -> Path:
    """Write model.onnx into the folder `target`; weights that do not fit into one file go beside it."""
    import onnx

    graph = target / GRAPH
    # Not the model's own ByteSize, which protobuf refuses to tell beyond 2 GiB.
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= _INLINE_BYTES_MAX:
        onnx.save(model, graph)
    else:
        onnx.save(model, graph, save_as_external_data=True, all_tensors_to_one_file=True, location=WEIGHTS_FILE)
    return graph


def facts_of(graph: Path, before: Facts) -> Facts:
    """What is known of the model, with the weights counted anew. Raises: Refused."""
    from converters.graph import BrokenGraph, read_graph

    try:
        counted = read_graph(graph.read_bytes())
    except BrokenGraph as error:
        raise Refused(f"{GRAPH}: {error}") from error
    return replace(before, parameters=counted.parameters, dtype=counted.dtype)


def inputs_of(graph: Path) -> tuple[TensorFact, ...]:
    """What a graph takes. Raises: Refused for one that does not open."""
    from converters.inspection import InvalidModel, describe

    try:
        return describe(graph).inputs
    except InvalidModel as error:
        raise Refused(str(error)) from error


def changed_facts(source: Artifact, graph: Path) -> Facts:
    """What is known of the graph made of `source`, which onnxruntime was seen to open.

    The weights are counted before the change: scales and zero points that it adds are none. Raises: Refused.
    """
    from converters.graph import read_graph
    from converters.inspection import InvalidModel, describe

    try:
        found = describe(graph)
    except InvalidModel as error:
        raise Refused(f"the changed graph does not open here: {error}") from error
    counted = source.facts.parameters
    if counted is None:
        counted = read_graph(source.graph.read_bytes()).parameters
    return replace(source.facts, parameters=counted, dtype=found.dtype)


def ordered(model: Any) -> Any:
    """The model with each node behind those that it needs, and the domains of all its operators declared."""
    from onnx import helper
    from onnxruntime.transformers.onnx_model import OnnxModel

    OnnxModel.graph_topological_sort(model.graph)
    declared = {entry.domain for entry in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} - declared - {"", "ai.onnx"}):
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def node_types(model: Any) -> Counter[str]:
    """How many nodes of each operator the graph has, those of its subgraphs aside."""
    return Counter(node.op_type for node in model.graph.node)


def first_line(error: BaseException) -> str:
    """The first sentence of a library's error, short enough for one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0].partition(". ")[0] if lines else type(error).__name__)[:300]


def attempt(what: str, change: Callable[[], Any]) -> Any:
    """The answer of a library's call; what it raises for a graph that it cannot treat becomes a Refused."""
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    try:
        return change()
    except (
        *(failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.NotImplemented),
        *(failures.RuntimeException, failures.InvalidProtobuf),
        *(RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError),
    ) as error:
        raise Refused(f"{what}: {first_line(error)}") from error
