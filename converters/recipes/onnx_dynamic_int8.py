"""8-bit weights; activations are brought to 8 bits when the model runs, by the range they have then.

Convolutions stay as they are: onnxruntime's CPU kernel for their dynamic form is slower than the original.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from converters.contract import Facts
from converters.formats import GRAPH, Format
from converters.onnx_graphs.files import attempt, changed_facts, load_graph, node_types
from converters.onnx_graphs.layers import KEEP, kept_layers, name_nodes
from converters.onnx_graphs.processor import REDUCE_RANGE, reduces
from converters.recipe import Parameter, Recipe, Refused, Step
from converters.workspace import carry_companions

_OPERATORS = ("MatMul", "Gemm", "Gather", "Attention", "EmbedLayerNormalization", "LSTM")
_INLINE_BYTES_MAX = 2**31 - 2**28


def run(step: Step) -> Facts:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = load_graph(step.source)
    name_nodes(model.graph)
    keep = kept_layers(model.graph, step.parameters["keep"])
    operators = _operators(step.parameters["operators"])
    is_large, before = model.ByteSize() > _INLINE_BYTES_MAX, node_types(model)
    is_reduced = reduces(step.parameters["reduce_range"])
    carry_companions(step.source, step.target)
    attempt(
        "onnxruntime cannot quantize the graph",
        lambda: quantize_dynamic(
            model,
            step.target / GRAPH,
            op_types_to_quantize=operators,
            # Before it quantizes, onnxruntime writes a Gemm as a MatMul of this name.
            nodes_to_exclude=[name for layer in keep for name in (layer, f"{layer}_MatMul")],
            per_channel=step.parameters["per_channel"],
            reduce_range=is_reduced,
            weight_type=QuantType.QInt8,
            use_external_data_format=is_large,
            # Only products with weights: two activations have no 8-bit form to keep. Behind operators that only
            # onnxruntime has, no type is known; weights that can be quantized make floats.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
        ),
    )
    step.report(0.9)
    require_change(step, before)
    facts = changed_facts(step.source, step.target / GRAPH)
    labels = {**facts.labels, "quantization": "int8 dynamic", "weight_bits": _bits(is_reduced)}
    return replace(facts, dtype="int8", labels=labels)


def _operators(names: str) -> list[str]:
    chosen = [name.strip() for name in names.split(",") if name.strip()] or list(_OPERATORS)
    for name in chosen:
        if name not in _OPERATORS:
            raise Refused(f"recipe onnx_dynamic_int8: operators names {name!r}; known are: {', '.join(_OPERATORS)}")
    # A Gemm is quantized as the MatMul that onnxruntime makes of it.
    return [*chosen, "MatMul"] if "Gemm" in chosen and "MatMul" not in chosen else chosen


def _bits(is_reduced: bool) -> str:
    return "7" if is_reduced else "8"


def require_change(step: Step, before: Counter[str]) -> None:
    """Raises Refused when no node was replaced."""
    import onnx

    after = node_types(onnx.load(step.target / GRAPH, load_external_data=False))
    if after == before:
        raise Refused(
            "the graph has no product with constant weights, so there is nothing to quantize dynamically; "
            "convolutions are quantized by int8_static"
        )


RECIPE = Recipe(
    name="onnx_dynamic_int8",
    summary="Quantize weights to 8 bits, activations as they come",
    gives={Format.ONNX: Format.ONNX, Format.TEXT_ENCODER: Format.TEXT_ENCODER},
    run=run,
    parameters={
        "per_channel": Parameter(False, "a scale for each output column of a weight instead of one for all"),
        "reduce_range": REDUCE_RANGE,
        "operators": Parameter("", "the only operators that are quantized, as in MatMul,Gemm; Gather is a table's"),
        "keep": KEEP,
    },
)
