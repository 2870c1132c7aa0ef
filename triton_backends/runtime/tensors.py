"""Tensors between numpy and Triton's Python stub."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triton_backends.runtime.triton import Array, Request


def bytes_array(texts: Sequence[str]) -> Array:
    """Shapes: BYTES[len(texts)], UTF-8."""
    return object_array([text.encode("utf-8", "replace") for text in texts])


def object_array(elements: Sequence[bytes]) -> Array:
    """Shapes: BYTES[len(elements)]."""
    array = np.empty(len(elements), dtype=np.object_)
    for position, element in enumerate(elements):
        array[position] = element
    return array


def inputs_by_name(request: Request) -> dict[str, Array]:
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
