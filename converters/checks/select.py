"""Which checks a conversion gets: structure always, and parity by what was made of what."""

from __future__ import annotations

from converters.checks.results import Check, require_passed
from converters.contract import ConversionRequest, JsonObject
from converters.formats import GRAPHS, Artifact, Format

# Recipes that keep full precision, if they are given no parameters that say otherwise.
_EXACT = frozenset({"torch_to_onnx", "encoder_to_onnx", "classifier_to_onnx", "onnx_optimize"})


def check(original: Artifact, made: Artifact, request: ConversionRequest) -> list[JsonObject]:
    """The records of all checks. Raises OutOfTolerance, Refused. The heavy libraries are imported by what is called."""
    if request.steps == ():
        return []  # a copy was asked for; and checks write beside the graph, which may be one that serves
    found: list[Check] = []
    if made.format in GRAPHS:
        from converters.checks.structure import check_structure

        found += check_structure(made)
    if made is not original and request.compare:
        found += _parity(original, made, request)
    require_passed(found)
    return [one.record() for one in found]


def _parity(original: Artifact, made: Artifact, request: ConversionRequest) -> list[Check]:
    is_exact = request.precision in (None, "fp32") and all(step.recipe in _EXACT for step in request.steps or ())
    match made.format:
        case Format.TEXT_GENERATION:
            from converters.checks.text_generation import check_text_generation

            return check_text_generation(original, made, is_exact=is_exact)
        case Format.TEXT_ENCODER:
            from converters.checks.text_encoder import check_text_encoder

            return check_text_encoder(original, made, is_exact=is_exact)
        case Format.ONNX:
            from converters.checks.tensors import check_tensors

            return check_tensors(original, made, request, is_exact=is_exact)
        case Format.TORCHSCRIPT:
            from converters.checks.torchscript import check_torchscript

            return check_torchscript(original, made)
        case Format.SAFETENSORS:
            from converters.checks.weights import check_weights

            return check_weights(original, made)
        case _:
            return []
