"""The weights of a graph in 8 or 4 bits: smaller and faster, while all that is computed stays in full precision."""

from __future__ import annotations

from dataclasses import replace

from converters.contract import Facts
from converters.formats import GRAPHS
from converters.recipe import Parameter, Recipe, Refused, Step


def convert(step: Step) -> Facts:
    """Raises: Refused."""
    from onnx import helper

    from converters.onnx_graphs.files import attempt, facts_of, load_graph, save_graph
    from converters.onnx_graphs.weight_only import MICROSOFT, WeightOnly
    from converters.workspace import carry_companions

    bits = step.parameters["bits"]
    model = load_graph(step.source)
    work = WeightOnly(model.graph, bits, step.parameters["block_size"])
    if not attempt("its weights cannot be quantized", work.quantize):
        raise Refused("there is nothing to quantize: the graph multiplies with no constant matrix")
    if all(entry.domain != MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    step.report(0.7)
    graph = save_graph(model, step.target)
    carry_companions(step.source, step.target)
    # Packing changes bytes, not the number of weights.
    facts = step.source.facts if step.source.facts.parameters is not None else facts_of(graph, step.source.facts)
    return replace(facts, dtype=f"int{bits}")


RECIPE = Recipe(
    name="onnx_weight_only",
    summary="Store the weights of an ONNX graph in 8 or 4 bits",
    gives={kind: kind for kind in GRAPHS},
    run=convert,
    parameters={
        "bits": Parameter(8, "Bits of a weight", (8, 4)),
        "block_size": Parameter(32, "Weights that share a scale", (16, 32, 64, 128)),
    },
)
