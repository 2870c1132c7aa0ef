"""The weights of a graph in 8 or 4 bits: smaller and faster, while all that is computed stays in full precision."""

from __future__ import annotations

from dataclasses import replace

from converters.contract import Facts
from converters.formats import GRAPHS
from converters.onnx_graphs.layers import KEEP, kept_layers, name_nodes, output_layers
from converters.recipe import Parameter, Recipe, Refused, Step


def convert(step: Step) -> Facts:
    """Raises: Refused."""
    from onnx import helper

    from converters.onnx_graphs.files import attempt, facts_of, load_graph, save_graph
    from converters.onnx_graphs.weight_only import MICROSOFT, Packing, WeightOnly
    from converters.workspace import carry_companions

    bits, block_size, accuracy_level, keep_bits = (
        step.parameters[name] for name in ("bits", "block_size", "accuracy_level", "keep_bits")
    )
    model = load_graph(step.source)
    name_nodes(model.graph)
    keep = kept_layers(model.graph, step.parameters["keep"])
    if step.parameters["keep_output"]:
        keep |= output_layers(model.graph)
    work = WeightOnly(model.graph, Packing(bits, block_size, accuracy_level, keep, keep_bits))
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
        "block_size": Parameter(32, "Weights that share a scale", (16, 32, 64, 128, 256)),
        "accuracy_level": Parameter(4, "4: multiply in 8 bits, by ranges of each block; 1: in full precision", (4, 1)),
        "keep": KEEP,
        "keep_output": Parameter(False, "keep the layers that make the first output too, and tables tied to them"),
        "keep_bits": Parameter(0, "Bits of the layers in keep; 0: they stay as they are", (0, 8)),
    },
)
