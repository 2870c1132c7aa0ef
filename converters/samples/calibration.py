"""Inputs that show a quantizer what ranges a model's activations have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from converters.contract import TensorFact
from converters.formats import Artifact, Format
from converters.recipe import Refused, Step
from converters.samples.tensors import DTYPES, batches, rows_of_file
from converters.samples.texts import Part, sentences
from converters.text_files import open_tokenizer

_BATCH = 8
_TOKENS = 64  # a paragraph or two


def calibration_batches(step: Step, inputs: tuple[TensorFact, ...], count: int) -> list[dict[str, Any]]:
    """At most `count` rows: the given ones, or for a text encoder prose of the standard library. Raises: Refused."""
    if step.calibration is not None:
        rows = rows_of_file(step.calibration, inputs)
        return list(batches({name: array[:count] for name, array in rows.items()}, inputs, _BATCH))
    if step.source.format is Format.TEXT_ENCODER:
        return list(_texts(step.source, inputs, count))
    raise Refused(
        "this needs examples of what the model takes: ask for int8, which needs none, or run the "
        "converter itself with --calibration FILE.npz with an array for each input "
        f"({', '.join(fact.name for fact in inputs)})"
    )


def _texts(source: Artifact, inputs: tuple[TensorFact, ...], count: int) -> Iterator[dict[str, Any]]:
    """One text at a time, so that no padding is measured; all of one length, which histograms of ranges need."""
    import numpy as np

    from converters.text_encoders.files import read_facts

    length = min(_TOKENS, read_facts(source.directory).max_tokens)
    tokenizer = open_tokenizer(source.directory, length)
    for encoding in islice(_full(tokenizer, length), count):
        known = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        yield {fact.name: np.array([known[fact.name]], DTYPES[fact.datatype]) for fact in inputs}


def _full(tokenizer: Any, length: int) -> Iterator[Any]:
    """Paragraphs, each with as many of those that follow as make `length` tokens."""
    text = ""
    for paragraph in sentences(Part.TUNING):
        text = f"{text} {paragraph}".strip()
        encoding = tokenizer.encode(text)
        if len(encoding.ids) == length:
            yield encoding
            text = ""
