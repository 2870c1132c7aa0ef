"""The layers of a graph that quantizers change: products with constant weights, each by a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from converters.recipe import Parameter, Refused

PRODUCTS = ("MatMul", "Gemm")
KEEP = Parameter("", "layers that stay as they are, by the names of their nodes: first,second")
_SEPARATOR = ","


def name_nodes(graph: Any) -> None:
    """Give a name to every node that has none, or not one of its own. The same graph always gets the same names."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    for place, node in enumerate(graph.node):
        if not node.name or node.name in seen or _SEPARATOR in node.name:
            node.name = _free_name(f"{node.op_type}_{place}", taken)
        seen.add(node.name)


def _free_name(wish: str, taken: set[str]) -> str:
    while wish in taken:
        wish += "_"
    taken.add(wish)
    return wish


def layers_of(graph: Any, operators: Sequence[str] = PRODUCTS) -> list[str]:
    """The names of the nodes, in the graph's order, that multiply with a constant."""
    return [node.name for node in _layers(graph, operators)]


def _layers(graph: Any, operators: Sequence[str]) -> Iterator[Any]:
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in operators and not node.domain and len(node.input) > 1 and node.input[1] in constants:
            yield node


def kept_layers(graph: Any, names: str, operators: Sequence[str] = PRODUCTS) -> frozenset[str]:
    """The layers that a value of KEEP names. Raises: Refused for one that the graph does not have."""
    kept = frozenset(name.strip() for name in names.split(_SEPARATOR) if name.strip())
    unknown = kept - set(layers_of(graph, operators))
    if unknown:
        raise Refused(
            f"keep names {min(unknown)!r}, and the graph has no such layer: a node ({', '.join(operators)}) that "
            "multiplies with constant weights was expected"
        )
    return kept


def output_layers(graph: Any) -> frozenset[str]:
    """Those whose products reach the first output with no other layer behind them: of a language model, one."""
    makers = {output: node for node in graph.node for output in node.output}
    layers, found = set(layers_of(graph)), set()
    waiting, seen = [graph.output[0].name], set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node.name in layers:
            found.add(node.name)
        else:
            waiting += node.input
    return frozenset(found)


def weights_of_layers(graph: Any, names: frozenset[str]) -> frozenset[str]:
    """The constants that these layers multiply with; they keep their names where an optimizer renames the nodes."""
    return frozenset(node.input[1] for node in graph.node if node.name in names)


def to_names(layers: Sequence[str]) -> str:
    """A value of KEEP."""
    return _SEPARATOR.join(layers)
