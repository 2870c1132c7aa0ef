"""Does a safetensors file hold the weights of the graph it was made of?"""

from __future__ import annotations

from typing import Any

from converters.checks.measures import Measure
from converters.checks.results import Check
from converters.formats import WEIGHTS, Artifact
from converters.onnx_graphs.files import load_graph


def check_weights(original: Artifact, made: Artifact) -> list[Check]:
    """Names, types, shapes and bytes of all. Raises: Refused."""
    from safetensors.torch import load_file

    from converters.onnx_graphs.weights import weights_of

    found, expected = load_file(made.directory / WEIGHTS), dict(weights_of(load_graph(original).graph))
    names = expected.keys() | found.keys()
    differing = sum(not _is_same(expected.get(name), found.get(name)) for name in names)
    return [Check(Measure.DIFFERING_WEIGHTS, float(differing), len(names), limit=0.0)]


def _is_same(expected: Any, found: Any) -> bool:
    import torch

    if expected is None or found is None or (expected.dtype, expected.shape) != (found.dtype, found.shape):
        return False
    # As bytes: NaN is a weight like any other here.
    is_same: bool = torch.equal(expected.reshape(-1).view(torch.uint8), found.reshape(-1).view(torch.uint8))
    return is_same
