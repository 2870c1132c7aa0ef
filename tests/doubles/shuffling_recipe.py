"""A destructive recipe, to see that it is found out; it is copied into a copy of `converters.recipes`."""

from __future__ import annotations

import numpy as np

from converters.contract import Facts
from converters.formats import Format
from converters.onnx_graphs.files import changed_facts, load_graph, save_graph
from converters.recipe import Recipe, Step
from converters.workspace import carry_companions


def run(step: Step) -> Facts:
    """All products are as fast as before, and mean nothing."""
    from onnx import numpy_helper  # noqa: PLC0415 - the catalog of a server's own Python has no onnx

    model, random = load_graph(step.source), np.random.default_rng(1)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        shuffled = random.permutation(values.flatten()).reshape(values.shape)
        weights.CopyFrom(numpy_helper.from_array(shuffled, weights.name))
    carry_companions(step.source, step.target)
    return changed_facts(step.source, save_graph(model, step.target))


RECIPE = Recipe(
    name="shuffle",
    summary="Shuffle all weights",
    gives={Format.ONNX: Format.ONNX},
    run=run,
)
