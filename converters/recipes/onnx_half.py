"""16-bit floating point; inputs and outputs stay FP32.

fp16: the arithmetic too, but for operators that lose too much. Where the CPU provider has no such kernel it computes
in FP32 between two casts, so a range that overflows on a GPU may not be seen by a check on the CPU.
bf16: the weights only, since onnxruntime's CPU provider has no bfloat16 arithmetic (1.31: not even MatMul and Add);
the graph widens them, which onnxruntime does once, when it opens the model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from converters.contract import Facts
from converters.formats import GRAPH, Format
from converters.onnx_graphs.files import attempt, changed_facts, load_graph, node_types, ordered, save_graph
from converters.recipe import Parameter, Recipe, Refused, Step
from converters.workspace import carry_companions

# Operators for which a float is no weight: the sizes they compute and the scales they keep must not be rounded.
_EXACT = frozenset({"Resize", "Upsample", "Range", "RoiAlign", "QuantizeLinear", "DequantizeLinear", "MatMulNBits",
                    "GatherBlockQuantized", "DynamicQuantizeMatMul", "MatMulInteger"})  # fmt: skip
_SHAPES_BYTES_MAX = 2**31 - 2**28


def run(step: Step) -> Facts:
    model = load_graph(step.source)
    carry_companions(step.source, step.target)
    if step.parameters["dtype"] == "bf16":
        narrow_weights(model)
    else:
        model = to_fp16(model, _operators(step.parameters["keep_fp32"], model))
    step.report(0.7)
    save_graph(model, step.target)
    facts = changed_facts(step.source, step.target / GRAPH)
    arithmetic = "fp32" if step.parameters["dtype"] == "bf16" else "fp16"
    return replace(facts, labels={**facts.labels, "arithmetic": arithmetic})


def _operators(kept: str, model: Any) -> list[str]:
    names = [name.strip() for name in kept.split(",") if name.strip()]
    for name in names:
        if name not in node_types(model):
            raise Refused(f"recipe onnx_half: keep_fp32 names {name!r}, and the graph has no such operator")
    return names


def to_fp16(model: Any, kept: list[str]) -> Any:
    """The same model in half precision, but for the operators in `kept`. Raises: Refused."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    converted = attempt(
        "the graph cannot be brought to half precision",
        lambda: convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *kept],
            disable_shape_infer=model.ByteSize() > _SHAPES_BYTES_MAX,
        ),
    )
    return ordered(converted)


def narrow_weights(model: Any) -> None:
    """Every FP32 weight becomes BF16 and a Cast, in place. Raises: Refused when there is none."""
    from onnx import TensorProto, helper

    graph = model.graph
    fixed = {name for node in graph.node if node.op_type in _EXACT for name in node.input}
    fixed |= {tensor.name for tensor in graph.input}
    kept, narrowed, casts = [], [], []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in fixed or not _has_several(tensor):
            kept.append(tensor)
            continue
        weight = _narrow(tensor)
        narrowed.append(weight)
        widen = f"{weight.name}/widen"
        casts.append(helper.make_node("Cast", [weight.name], [tensor.name], to=TensorProto.FLOAT, name=widen))
    if not narrowed:
        raise Refused("the graph has no FP32 weights that could be kept in bf16")
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *narrowed])
    graph.node.extend(nodes)


def _has_several(tensor: Any) -> bool:
    return any(size > 1 for size in tensor.dims)


def _narrow(tensor: Any) -> Any:
    import ml_dtypes
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
    return helper.make_tensor(f"{tensor.name}/bf16", TensorProto.BFLOAT16, tensor.dims, values.tobytes(), raw=True)


RECIPE = Recipe(
    name="onnx_half",
    summary="Store an ONNX graph in 16-bit floating point",
    gives={Format.ONNX: Format.ONNX, Format.TEXT_ENCODER: Format.TEXT_ENCODER},
    run=run,
    parameters={
        "dtype": Parameter("fp16", "fp16: weights and arithmetic; bf16: weights", ("fp16", "bf16")),
        "keep_fp32": Parameter("", "operators that stay in FP32, as in Softmax,LayerNormalization"),
    },
)
