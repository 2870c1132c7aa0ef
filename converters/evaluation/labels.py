"""Where the right answers are known, a candidate is as good as its share of them beside the baseline's."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.checks.measures import Measure, choices, same_choice
from converters.contract import Evaluated
from converters.recipe import Refused


def judged(labels: Any, baseline: Any, candidate: Any, data: str) -> Evaluated:
    """Of answers [rows, classes] (of a single value: is it positive).

    Raises Refused for a label that the model does not have, and when the baseline hits none.
    """
    count = max(2, baseline.shape[1])
    unknown = labels[(labels < 0) | (labels >= count)]
    if unknown.size:
        raise Refused(f"the model has no label {unknown[0]}; it has 0 to {count - 1}")
    before, after = (float(np.mean(choices(answer) == labels)) for answer in (baseline, candidate))
    if not before:
        raise Refused("the baseline answers no row of the data as its label says: the labels are of another model")
    return Evaluated(
        Measure.ACCURACY_RATIO,
        min(1.0, after / before),
        len(labels),
        data,
        {
            "accuracy_baseline": before,
            "accuracy_candidate": after,
            Measure.TOP1_AGREEMENT.value: float(same_choice(baseline, candidate).mean()),
        },
    )
