"""8-bit weights and activations by ranges that were measured beforehand, as QuantizeLinear/DequantizeLinear pairs.

`for_engine` tensorrt makes the pairs as TensorRT wants them: signed, symmetric, and biases left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.contract import Facts
from converters.formats import GRAPH, Format
from converters.onnx_graphs.files import attempt, changed_facts, inputs_of, load_graph, save_graph
from converters.onnx_graphs.layers import KEEP, kept_layers, name_nodes, weights_of_layers
from converters.onnx_graphs.processor import REDUCE_RANGE, reduces
from converters.recipe import Parameter, Recipe, Refused, Step
from converters.samples.calibration import calibration_batches
from converters.workspace import carry_companions

_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
# Where the time goes; what lies between them costs more in accuracy than it saves.
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_CALIBRATION_SHARE = 0.8


class Rows:
    """What `quantize_static` reads from: None ends it. `read` is told how much is behind."""

    def __init__(self, batches: list[dict[str, Any]], read: Callable[[float], None]) -> None:
        self._batches, self._position, self._read = batches, 0, read

    def get_next(self) -> dict[str, Any] | None:
        if self._position == len(self._batches):
            return None
        self._position += 1
        self._read(self._position / len(self._batches))
        return self._batches[self._position - 1]


def run(step: Step) -> Facts:
    batches = calibration_batches(step, inputs_of(step.source.graph), step.parameters["samples"])
    carry_companions(step.source, step.target)
    draft = step.target / "draft"
    draft.mkdir()
    model = load_graph(step.source)
    name_nodes(model.graph)
    keep = kept_layers(model.graph, step.parameters["keep"], OPERATORS)
    weights = weights_of_layers(model.graph, keep)
    prepared = _prepare(model, draft)
    rows = Rows(batches, lambda fraction: step.report(fraction * _CALIBRATION_SHARE))
    attempt(_failure(prepared), lambda: _quantize(step, prepared, rows, weights))
    for leftover in draft.iterdir():
        leftover.unlink()
    draft.rmdir()
    _require_pairs(step.target / GRAPH)
    facts = changed_facts(step.source, step.target / GRAPH)
    count = sum(len(next(iter(batch.values()))) for batch in batches)
    labels = {**facts.labels, "quantization": "int8 static", "calibration_rows": str(count)}
    return replace(facts, dtype="int8", labels=labels)


def _prepare(model: Any, draft: Path) -> Path:
    """Shapes inferred and constants folded, as the quantizer wants its graphs."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain = save_graph(model, draft)
    prepared = draft / "prepared.onnx"
    attempt(
        "onnxruntime cannot prepare the graph for quantization",
        # Symbolic inference contradicts the shapes of graphs that torch exported.
        lambda: quant_pre_process(plain, prepared, skip_symbolic_shape=True),
    )
    return prepared


def _failure(graph: Path) -> str:
    import onnx

    nodes = onnx.load(graph, load_external_data=False).graph.node
    if any(node.domain not in ("", "ai.onnx") for node in nodes):
        return "the graph cannot be quantized after its optimization for onnxruntime; quantize it first"
    return "onnxruntime cannot quantize the graph"


def _quantize(step: Step, prepared: Path, rows: Rows, kept_weights: frozenset[str]) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    is_tensorrt = step.parameters["for_engine"] == "tensorrt"
    # Behind operators that only onnxruntime has, no type is known; what is quantized makes floats.
    options: dict[str, object] = {"DefaultTensorType": TensorProto.FLOAT}
    if is_tensorrt:
        options |= {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    quantize_static(
        prepared,
        step.target / GRAPH,
        rows,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATORS),
        nodes_to_exclude=_readers(prepared, kept_weights),
        per_channel=step.parameters["per_channel"],
        reduce_range=not is_tensorrt and reduces(step.parameters["reduce_range"]),
        activation_type=QuantType.QInt8 if is_tensorrt else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[_METHODS[step.parameters["method"]]],
        extra_options=options,
    )


def _readers(graph: Path, weights: frozenset[str]) -> list[str]:
    """By their weights, because preparing gives new names to products."""
    import onnx

    nodes = onnx.load(graph, load_external_data=False).graph.node
    return [node.name for node in nodes if not weights.isdisjoint(node.input)]


def _require_pairs(graph: Path) -> None:
    import onnx

    if not any(node.op_type == "QuantizeLinear" for node in onnx.load(graph, load_external_data=False).graph.node):
        raise Refused(f"the graph has none of the operators that are quantized: {', '.join(OPERATORS)}")


RECIPE = Recipe(
    name="onnx_static_int8",
    summary="Quantize weights and activations to 8 bits by calibrated ranges",
    gives={Format.ONNX: Format.ONNX, Format.TEXT_ENCODER: Format.TEXT_ENCODER},
    run=run,
    parameters={
        "method": Parameter("minmax", "how a range is made of what was seen", tuple(_METHODS)),
        "per_channel": Parameter(True, "a scale for each output channel of a weight instead of one for all"),
        "samples": Parameter(128, "rows that are looked at, at most"),
        "for_engine": Parameter("cpu", "whose rules the pairs follow", ("cpu", "tensorrt")),
        "reduce_range": REDUCE_RANGE,
        "keep": KEEP,
    },
)
