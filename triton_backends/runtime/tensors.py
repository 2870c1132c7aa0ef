"""Tensors between numpy and Triton's Python stub."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from triton_backends.runtime.triton import Array, Request


def bytes_array(texts: Sequence[str]) -> Array:
    """Shapes: BYTES[len(texts)], UTF-8."""
    array = np.empty(len(texts), dtype=np.object_)
    for position, text in enumerate(texts):
        array[position] = text.encode("utf-8", "replace")
    return array


def inputs_by_name(request: Request) -> dict[str, Array]:
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
