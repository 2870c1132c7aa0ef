"""Does a graph of tensors give the same numbers, and where there are classes the same class?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.checks.measures import Measure
from converters.checks.tensors import agreement, compared, open_graph, rows_of, same_class
from converters.contract import Evaluated, TensorFact
from converters.evaluation.examination import Answers, Report, key_of
from converters.evaluation.labels import judged
from converters.formats import Artifact
from converters.onnx_graphs.files import inputs_of
from converters.recipe import Refused
from converters.samples.tensors import arrays_of_file, batches, fixed_rows, rows_of_file, sample

LABEL = "label"
_BATCH, _BATCHES, _ROWS_MIN, _GIVEN_ROWS = 16, 8, 100, 1_024
# Other random numbers than those of the checks.
_SEED = 50_000


@dataclass(frozen=True, slots=True)
class Batches:
    """`labels`: the class of each row of all batches, where it is known."""

    inputs: tuple[dict[str, Any], ...]
    data: str
    labels: Any = None

    @property
    def key(self) -> str:
        named = {f"{number:06d}.{name}": array for number, one in enumerate(self.inputs) for name, array in one.items()}
        return key_of(named)

    def answers(self, model: Artifact, report: Report) -> Answers:
        # As Triton serves it: with all of onnxruntime's optimizations.
        run, found = open_graph(model.graph), {}
        for number, arrays in enumerate(self.inputs):
            report(number / len(self.inputs))
            for position, output in enumerate(run(arrays)):
                found[f"{number:06d}.{position:04d}"] = output.astype(str) if output.dtype.kind == "O" else output
        return found

    def compare(self, baseline: Answers, candidate: Answers) -> Evaluated:
        pairs = [
            pair
            for number in range(len(self.inputs))
            for pair in compared(_outputs(baseline, number), _outputs(candidate, number))
        ]
        if self.labels is not None:
            return judged(self.labels, self._first(baseline), self._first(candidate), self.data)
        classes = same_class(pairs)
        extra = {} if classes is None else {Measure.TOP1_AGREEMENT.value: classes}
        return Evaluated(Measure.TENSOR_AGREEMENT, agreement(pairs), rows_of(pairs), self.data, extra)

    def _first(self, answers: Answers) -> Any:
        """The first output for all rows. Raises Refused where it has no classes."""
        outputs = [_outputs(answers, number)[0] for number in range(len(self.inputs))]
        if any(output.ndim != 2 or output.dtype.kind not in "fiu" for output in outputs):
            raise Refused("labels are for a model whose first output is [rows, classes]; leave them out")
        return np.concatenate(outputs)


def tensors(baseline: Artifact, data: Path | None) -> Batches:
    """Raises Refused."""
    facts = inputs_of(baseline.graph)
    if data is not None:
        return _given(data, facts)
    fixed = fixed_rows(facts)
    count = -(-_ROWS_MIN // fixed) if fixed else _BATCHES
    return Batches(tuple(sample(facts, _BATCH, seed=_SEED + number) for number in range(count)), "random numbers")


def _given(data: Path, facts: Sequence[TensorFact]) -> Batches:
    if data.suffix.lower() != ".npz":
        raise Refused(f"{data.name}: the inputs of a tensor model are given in an .npz file")
    rows = rows_of_file(data, facts)
    count = len(next(iter(rows.values())))
    labels = None if LABEL in rows else _labels(data, count)
    places = np.arange(min(count, _GIVEN_ROWS)) * count // min(count, _GIVEN_ROWS)  # evenly spread
    inputs = tuple(batches({name: array[places] for name, array in rows.items()}, facts, _BATCH))
    if not inputs:
        raise Refused(f"{data.name} has {count} rows, and the model takes {facts[0].shape[0]} at a time")
    taken = sum(len(next(iter(one.values()))) for one in inputs)
    return Batches(inputs, f"rows of {data.name}", None if labels is None else labels[places][:taken])


def _labels(data: Path, rows: int) -> Any:
    labels = arrays_of_file(data).get(LABEL)
    if labels is None:
        return None
    if labels.dtype.kind not in "iu" or labels.shape not in ((rows,), (rows, 1)):
        raise Refused(f"the array 'label' of {data.name} must be whole numbers, one for each of the {rows} rows")
    return labels.reshape(rows).astype(np.int64)


def _outputs(answers: Answers, number: int) -> list[Any]:
    return [answers[name] for name in sorted(answers) if name.startswith(f"{number:06d}.")]
