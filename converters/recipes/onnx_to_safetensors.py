"""The weights of a graph, each under the name that it has there, as one safetensors file."""

from __future__ import annotations

from converters.contract import Facts
from converters.formats import GRAPHS, WEIGHTS, Format
from converters.onnx_graphs.files import facts_of, load_graph
from converters.recipe import Recipe, Refused, Step


def run(step: Step) -> Facts:
    """Raises: Refused."""
    from safetensors.torch import save_file

    from converters.onnx_graphs.weights import weights_of

    weights = dict(weights_of(load_graph(step.source).graph))
    if not weights:
        raise Refused("the graph has no weights")
    step.report(0.5)
    save_file(weights, step.target / WEIGHTS, {"format": "onnx"})
    return facts_of(step.source.graph, step.source.facts)


RECIPE = Recipe(
    name="onnx_to_safetensors",
    summary="Write the weights of an ONNX graph as safetensors",
    gives=dict.fromkeys(GRAPHS, Format.SAFETENSORS),
    run=run,
)
