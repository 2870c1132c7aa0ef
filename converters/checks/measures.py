"""What checks measure: the name of each number in a revision's manifest, and the formulas that several checks use."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Measure(StrEnum):
    """b: the source's answer, c: the converted model's. docs/importing.md has the same words for users."""

    STRUCTURE = "structure"  # faults that onnx's checker finds; one of them ends the conversion
    MAX_DIFFERENCE = "max_difference"  # largest |c - b| / max(1, largest |b|), over all values of an output
    PADDING_DIFFERENCE = "padding_difference"  # the same, of a text alone and beside longer ones
    INCREMENTAL_DIFFERENCE = "incremental_difference"  # the same, of a text read piece by piece and at once
    TOP1_AGREEMENT = "top1_agreement"  # share of rows (texts, next tokens) with the largest value at the same place
    MEAN_COSINE = "mean_cosine"  # mean over texts of the cosine between c and b, clipped to [0, 1]
    TENSOR_AGREEMENT = "tensor_agreement"  # 1 - min(1, ||c - b|| / ||b||), over all outputs of all inputs
    PERPLEXITY_RATIO = "perplexity_ratio"  # exp(mean loss of c - mean loss of b)
    ACCURACY_RATIO = "accuracy_ratio"  # min(1, share of labels that c hits / share that b hits)
    DIFFERING_WEIGHTS = "differing_weights"  # weights that are not the same bytes under the same name


def max_difference(expected: Array, found: Array) -> float:
    """Infinity that both give is no difference; NaN of either is told as NaN, which passes no limit."""
    alike = ~np.isfinite(expected) & (expected == found)
    expected, found = np.where(alike, 0, expected), np.where(alike, 0, found)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        return float(np.abs(found - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0)))


def choices(answer: Array) -> NDArray[np.int64]:
    """Of each row along the last axis the place of the largest value; of a single value 1 where it is positive."""
    found = answer[..., 0] > 0 if answer.shape[-1] == 1 else answer.argmax(-1)
    return np.asarray(found, np.int64)


def same_choice(expected: Array, found: Array) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = choices(expected) == choices(found)
    return same


def mean_cosine(expected: Array, found: Array) -> float:
    """Over rows of [rows, dimensions]."""
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    cosines = (expected * found).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
    return float(np.clip(cosines.mean(), 0, 1))
