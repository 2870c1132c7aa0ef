"""Which recipes lead from a source to a precision."""

from __future__ import annotations

from converters.contract import PRECISIONS, StepRequest
from converters.formats import GRAPHS, Artifact, Format
from converters.recipe import Refused

# From a source to a graph in full precision; a graph is one already.
_TO_GRAPH = {
    Format.CAUSAL_LM: "causal_lm_to_onnx",
    Format.ENCODER: "encoder_to_onnx",
    Format.CLASSIFIER: "classifier_to_onnx",
    Format.TORCHSCRIPT: "torch_to_onnx",
    Format.TORCH_EXPORT: "torch_to_onnx",
}
_TO_PRECISION = {
    "fp16": StepRequest("onnx_half", {"dtype": "fp16"}),
    "bf16": StepRequest("onnx_half", {"dtype": "bf16"}),
    "int8": StepRequest("onnx_dynamic_int8"),
    "int8_static": StepRequest("onnx_static_int8"),
    "q8": StepRequest("onnx_weight_only", {"bits": 8}),
    "q4": StepRequest("onnx_weight_only", {"bits": 4}),
}
_HALVES = ("fp16", "bf16")


def plan_for(original: Artifact, precision: str | None) -> tuple[StepRequest, ...]:
    """Raises Refused for a precision that is unknown or makes no sense for the model."""
    if precision is not None and precision not in PRECISIONS:
        raise Refused(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}", known=list(PRECISIONS))
    if original.format is Format.CAUSAL_LM:
        return _text_plan(precision)
    first = () if original.format in GRAPHS else (StepRequest(_TO_GRAPH[original.format]),)
    if precision in (None, "fp32"):
        return first
    return (*first, _TO_PRECISION[precision])


def _text_plan(precision: str | None) -> tuple[StepRequest, ...]:
    """The builder itself writes half precision; activations of a language model stay as they are."""
    if precision in ("int8", "int8_static"):
        raise Refused(
            f"a language model is not converted to {precision}: 8-bit activations spoil its text; use q8 or q4"
        )
    if precision in _HALVES:
        return (StepRequest("causal_lm_to_onnx", {"dtype": precision}),)
    first = StepRequest("causal_lm_to_onnx")
    return (first,) if precision in (None, "fp32") else (first, _TO_PRECISION[precision])
