"""Does a text encoder give the same vectors, a classifier the same label?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from converters.checks.measures import Measure, max_difference, mean_cosine, same_choice
from converters.checks.text_encoder import GraphEncoder
from converters.contract import Evaluated
from converters.evaluation.examination import Answers, Report
from converters.evaluation.labels import judged
from converters.formats import Artifact
from converters.recipe import OutOfTolerance, Refused
from converters.samples.data_files import Text, read_texts, thinned
from converters.samples.texts import Part, of_many_lengths, sentences
from converters.text_encoders.files import CLASSIFICATION, EncoderFacts, read_facts

_OWN_TEXTS, _GIVEN_TEXTS, _BATCH = 256, 1_024, 8
_LENGTHS = 4  # of our own texts


@dataclass(frozen=True, slots=True)
class Texts:
    """`labels`: the place of each text's right answer, where it is known."""

    encoder: Artifact
    facts: EncoderFacts
    texts: tuple[str, ...]
    data: str
    labels: Any = None

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()

    def answers(self, model: Artifact, report: Report) -> Answers:
        # In the order of their lengths, so that little of a batch is padding.
        order = sorted(range(len(self.texts)), key=lambda number: len(self.texts[number]))
        encode, found = GraphEncoder(model, self.encoder, self.facts), dict[int, Any]()
        for start in range(0, len(order), _BATCH):
            report(start / len(order))
            numbers = order[start : start + _BATCH]
            found.update(zip(numbers, encode([self.texts[number] for number in numbers]), strict=True))
        return {"answers": np.stack([found[number] for number in range(len(order))])}

    def compare(self, baseline: Answers, candidate: Answers) -> Evaluated:
        before, after = baseline["answers"], candidate["answers"]
        if before.shape != after.shape:
            raise OutOfTolerance(f"the candidate gives {after.shape[1]} dimensions, the baseline {before.shape[1]}")
        if not np.isfinite(before).all():
            raise Refused("the baseline's own answers are not finite numbers")
        if not np.isfinite(after).all():
            raise OutOfTolerance("the candidate's answers are not finite numbers")
        if self.labels is not None:
            return judged(self.labels, before, after, self.data)
        extra = {Measure.MAX_DIFFERENCE.value: max_difference(before, after)}
        if self.facts.task == CLASSIFICATION:
            alike = float(same_choice(before, after).mean())
            return Evaluated(Measure.TOP1_AGREEMENT, alike, len(before), self.data, extra)
        return Evaluated(Measure.MEAN_COSINE, mean_cosine(before, after), len(before), self.data, extra)


def texts(baseline: Artifact, data: Path | None) -> Texts:
    """Raises Refused."""
    facts = read_facts(baseline.directory)
    if data is None:
        own = tuple(of_many_lengths(islice(sentences(Part.EVALUATION), _OWN_TEXTS), _LENGTHS))
        return Texts(baseline, facts, own, "paragraphs of Python's standard library")
    given = thinned(read_texts(data), _GIVEN_TEXTS)
    labels = None if given[0].label is None else np.array([_place(one, facts, data.name) for one in given])
    return Texts(baseline, facts, tuple(one.text for one in given), f"texts of {data.name}", labels)


def _place(one: Text, facts: EncoderFacts, name: str) -> int:
    if facts.task != CLASSIFICATION:
        raise Refused(f"{name} has labels, and an embedding model has none: leave them out")
    known: Sequence[str] = facts.labels or ()
    # A single value says yes or no.
    count = max(2, facts.dimensions)
    if isinstance(one.label, str) and one.label in known:
        return known.index(one.label)
    if isinstance(one.label, int) and 0 <= one.label < count:
        return one.label
    names = f" or one of {', '.join(known[:20])}" if known else ""
    raise Refused(f"{name}: line {one.line}: the model has no label {one.label!r}; it has 0 to {count - 1}{names}")
