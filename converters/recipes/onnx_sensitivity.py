"""Another recipe's quantization, but for the layers that it damages most: as few as keep a target accuracy.

The accuracy is measured on inputs to tune on; `target` should leave a margin for those that judge the result.
Of 4-bit weights the worst layers get 8 bits, otherwise they stay as they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.contract import Facts
from converters.formats import GRAPHS, Artifact
from converters.onnx_graphs.layers import PRODUCTS, layers_of, name_nodes, to_names
from converters.recipe import Parameter, Recipe, Refused, Step
from converters.recipes import onnx_dynamic_int8, onnx_static_int8, onnx_weight_only

# A search that has no tries left for the layers themselves would only guess.
_TRIES_MIN, _TRIES_MAX = 4, 20
_WEIGHT_ONLY, _STATIC = onnx_weight_only.RECIPE, onnx_static_int8.RECIPE


@dataclass(frozen=True, slots=True)
class _Base:
    """A recipe with a `keep`, and its parameters that are not asked for."""

    recipe: Recipe
    fixed: Mapping[str, Any]
    operators: tuple[str, ...] = PRODUCTS


_BASES = {
    "dynamic_int8": _Base(onnx_dynamic_int8.RECIPE, {"per_channel": True}),
    "static_int8": _Base(_STATIC, {}, onnx_static_int8.OPERATORS),
    "weight_only_q8": _Base(_WEIGHT_ONLY, {"bits": 8}),
    "weight_only_q4": _Base(_WEIGHT_ONLY, {"bits": 4, "keep_bits": 8}),
}
# Parameters that some of the bases share with their recipes.
_PASSED = ("block_size", "method", "reduce_range")


def run(step: Step) -> Facts:
    from converters.checks.tuning import TuningInputs
    from converters.onnx_graphs.files import load_graph
    from converters.onnx_graphs.sensitivity import Cost, Search

    base, tries_max = _base(step), step.parameters["tries_max"]
    if not _TRIES_MIN <= tries_max <= _TRIES_MAX:
        raise Refused(f"recipe onnx_sensitivity: tries_max must be {_TRIES_MIN} to {_TRIES_MAX}, got {tries_max}")
    model = load_graph(step.source)
    name_nodes(model.graph)
    layers = layers_of(model.graph, base.operators)
    if not layers:
        raise Refused("there is nothing to quantize: the graph multiplies with no constant")
    inputs = TuningInputs(step)
    tried = 0

    def measure(kept: tuple[str, ...]) -> Cost:
        nonlocal tried
        # Beside the target, so that what a killed run leaves goes with the step.
        with tempfile.TemporaryDirectory(dir=step.target.parent) as scratch:
            cost = inputs.cost(_quantized(base, step, Path(scratch), kept))
        tried += 1
        step.report(min(0.9, tried / tries_max))
        return cost

    found = Search(layers, measure, step.parameters["target"], tries_max).run()
    if found.cost is None:
        raise Refused(
            f"{found.tries} tries found no way to keep an accuracy of {step.parameters['target']:g} with any of the "
            f"{len(layers)} layers quantized by {step.parameters['base']}"
        )
    facts = _quantized(base, step, step.target, found.kept).facts
    labels = {
        "layers_kept": f"{len(found.kept)} of {len(layers)}",
        "kept": to_names(found.kept),
        "tries": str(found.tries),
        "tuning_accuracy": f"{found.cost.accuracy:.4f}",
    }
    return replace(facts, labels={**facts.labels, **labels})


def _base(step: Step) -> _Base:
    base = _BASES[step.parameters["base"]]
    if step.source.format not in base.recipe.gives:
        raise Refused(
            f"{step.parameters['base']} does not take a model in the format {step.source.format.value}; "
            "weight_only_q8 and weight_only_q4 take all graphs"
        )
    return base


def _quantized(base: _Base, step: Step, target: Path, kept: tuple[str, ...]) -> Artifact:
    asked = {name: step.parameters[name] for name in _PASSED if name in base.recipe.parameters}
    parameters = base.recipe.settle({**base.fixed, **asked, "keep": to_names(kept)})
    facts = base.recipe.run(replace(step, target=target, parameters=parameters, report=lambda fraction: None))
    return Artifact(base.recipe.gives[step.source.format], target, facts)


RECIPE = Recipe(
    name="onnx_sensitivity",
    summary="Quantize, and keep the layers that it damages most as they are",
    gives={form: form for form in GRAPHS},
    run=run,
    parameters={
        "base": Parameter("dynamic_int8", "how the other layers are quantized", tuple(_BASES)),
        "target": Parameter(0.993, "the accuracy that is kept, on inputs to tune on"),
        "tries_max": Parameter(_TRIES_MAX, f"graphs that are made and tried, {_TRIES_MIN} to {_TRIES_MAX}"),
        "block_size": _WEIGHT_ONLY.parameters["block_size"],
        "method": _STATIC.parameters["method"],
        "reduce_range": _STATIC.parameters["reduce_range"],
    },
)
