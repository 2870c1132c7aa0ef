"""Merges the inputs of several requests into one run, and splits its outputs again by rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from triton_backends.runtime.triton import Array


def grouped(requests: Mapping[int, Mapping[str, Array]]) -> list[list[int]]:
    """The places of requests that may run together: same inputs, same sizes but for the rows."""
    groups: dict[object, list[int]] = {}
    for place, inputs in requests.items():
        key = tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(inputs.items()))
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def merged(inputs: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}


def split(outputs: Mapping[str, Array], rows: Sequence[int]) -> list[dict[str, Array]]:
    """One part a request, in the order of `rows`."""
    ends = np.cumsum(rows)[:-1]
    parts = {name: np.split(array, ends) for name, array in outputs.items()}
    return [{name: parts[name][place] for name in parts} for place in range(len(rows))]
