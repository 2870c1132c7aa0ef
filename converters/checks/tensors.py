"""Does a graph of tensors answer as the model it was made of, on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.checks.measures import Measure, max_difference, same_choice
from converters.checks.results import FP32_DIFFERENCE_MAX, Check
from converters.contract import ConversionRequest, TensorFact
from converters.formats import TORCH_FILES, Artifact
from converters.onnx_graphs.files import attempt
from converters.onnx_graphs.sessions import open_session
from converters.recipe import OutOfTolerance, Refused
from converters.samples.tensors import batches, rows_of_file, sample
from converters.torch_modules.calls import Run, open_torch

# Several sizes, so that a size which was baked into the graph is found; a graph with a fixed first axis ignores them.
_BATCHES = (1, 3, 16)
# What is measured and not judged is measured on 100 rows: fewer are low evidence (contract 0.4).
_MORE_BATCHES = (16,) * 5
_CALIBRATION_BATCH, _CALIBRATION_ROWS_MAX = 8, 128

# Which output, what the source gives there and what the candidate gives.
Pair = tuple[int, Any, Any]


def check_tensors(original: Artifact, made: Artifact, request: ConversionRequest, *, is_exact: bool) -> list[Check]:
    """The largest difference, the agreement of contract 0.4, and the same first class where there are classes.

    Raises: OutOfTolerance, Refused.
    """
    from converters.inspection import InvalidModel, describe

    try:
        facts = describe(made.graph).inputs
    except InvalidModel as error:
        raise OutOfTolerance(f"the converted graph does not open: {error}") from error
    expected, given = _open(original), _open_plain(made.graph)
    tried = _inputs(facts, request, is_exact=is_exact)
    pairs = [pair for arrays in tried for pair in _answers(expected, given, arrays)]
    samples = rows_of(pairs)
    difference = max(max_difference(reference, candidate) for _, reference, candidate in pairs)
    found = [
        Check(Measure.MAX_DIFFERENCE, difference, samples, limit=FP32_DIFFERENCE_MAX if is_exact else None),
        Check(Measure.TENSOR_AGREEMENT, agreement(pairs), samples),
    ]
    classes = same_class(pairs)
    return found if classes is None else [*found, Check(Measure.TOP1_AGREEMENT, classes, samples)]


def _open(original: Artifact) -> Run:
    return open_torch(original) if original.format.value in TORCH_FILES else _open_plain(original.graph)


def _open_plain(graph: Path) -> Run:
    """The graph as it is: what onnxruntime makes of it when it serves is not what is checked."""
    import onnxruntime

    return open_graph(graph, graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)


def open_graph(graph: Path, **options: Any) -> Run:
    """`options`: those of `SessionOptions`. Raises Refused, as what it gives."""
    session = attempt("onnxruntime cannot open the graph", lambda: open_session(graph, **options))

    def run(arrays: Mapping[str, Any]) -> list[Any]:
        return list(attempt("the graph does not take such inputs", lambda: session.run(None, dict(arrays))))

    return run


def _inputs(facts: Sequence[TensorFact], request: ConversionRequest, *, is_exact: bool) -> list[dict[str, Any]]:
    if request.calibration:
        rows = rows_of_file(Path(request.calibration), facts)
        # The last ones: calibration looks at the first.
        few = {name: array[-_CALIBRATION_ROWS_MAX:] for name, array in rows.items()}
        return list(batches(few, facts, _CALIBRATION_BATCH))
    sizes = _BATCHES if is_exact else _BATCHES + _MORE_BATCHES
    return [sample(facts, batch, seed=number) for number, batch in enumerate(sizes)]


def _answers(expected: Run, given: Run, arrays: Mapping[str, Any]) -> list[Pair]:
    """Raises: Refused when the source itself takes no such inputs."""
    try:
        references = expected(arrays)
    except Refused as error:
        raise Refused(
            f"the model cannot be checked, since its source refuses what was tried ({error}); "
            "run the converter itself and give inputs that it takes with --calibration FILE.npz"
        ) from error
    try:
        candidates = given(arrays)
    except Refused as error:
        raise OutOfTolerance(f"the converted model refuses what its source takes: {error}") from error
    return compared(references, candidates)


def compared(references: Sequence[Any], candidates: Sequence[Any]) -> list[Pair]:
    """Of each output. Raises: OutOfTolerance for other shapes, and for a candidate alone that is not finite."""
    if [reference.shape for reference in references] != [candidate.shape for candidate in candidates]:
        raise OutOfTolerance(
            "the converted model gives other shapes than its source",
            source=[list(reference.shape) for reference in references],
            converted=[list(candidate.shape) for candidate in candidates],
        )
    return [
        (position, *_comparable(reference, candidate))
        for position, (reference, candidate) in enumerate(zip(references, candidates, strict=True))
    ]


def _comparable(reference: Any, candidate: Any) -> tuple[Any, Any]:
    """Both as float64, zero where the source itself is infinite; raises OutOfTolerance where only the candidate is."""
    import numpy as np

    if reference.dtype.kind in "OSU":
        return np.zeros(reference.shape), (reference != candidate).astype(np.float64)
    reference, candidate = reference.astype(np.float64), candidate.astype(np.float64)
    endless = ~np.isfinite(reference)
    if not np.isfinite(candidate[~endless]).all():
        raise OutOfTolerance("the converted model gives values that are not finite where its source gives numbers")
    return np.where(endless, 0.0, reference), np.where(endless, 0.0, candidate)


def rows_of(pairs: Sequence[Pair]) -> int:
    """How many rows were asked, by the first output."""
    return sum(len(reference) if reference.ndim else 1 for position, reference, _ in pairs if position == 0)


def agreement(pairs: Sequence[Pair]) -> float:
    """Measure.TENSOR_AGREEMENT."""
    apart = sum(float(((candidate - reference) ** 2).sum()) for _, reference, candidate in pairs)
    whole = sum(float((reference**2).sum()) for _, reference, _ in pairs)
    if whole == 0.0:
        return 1.0 if apart == 0.0 else 0.0
    return float(1.0 - min(1.0, (apart / whole) ** 0.5))


def same_class(pairs: Sequence[Pair]) -> float | None:
    """The share of rows whose first output has its largest value at the same place; None where it has no classes."""
    rows = [(reference, candidate) for position, reference, candidate in pairs if position == 0]
    if any(reference.ndim != 2 or reference.shape[1] < 2 for reference, _ in rows):
        return None
    same = sum(int(same_choice(*pair).sum()) for pair in rows)
    return same / sum(len(reference) for reference, _ in rows)
