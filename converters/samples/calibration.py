"""Inputs that show a quantizer what ranges a model's activations have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from converters.contract import TensorFact
from converters.formats import Artifact, Format
from converters.recipe import Refused, Step
from converters.samples.tensors import DTYPES, batches, calibration_rows
from converters.samples.texts import Part, sentences

_BATCH = 8


def calibration_batches(step: Step, inputs: tuple[TensorFact, ...], count: int) -> list[dict[str, Any]]:
    """At most `count` rows: the given ones, or for a text encoder prose of the standard library. Raises: Refused."""
    if step.calibration is not None:
        rows = calibration_rows(step.calibration, inputs)
        return list(batches({name: array[:count] for name, array in rows.items()}, inputs, _BATCH))
    if step.source.format is Format.TEXT_ENCODER:
        return list(_texts(step.source, inputs, count))
    raise Refused(
        "static quantization needs examples of what the model takes: ask for int8, which needs none, or run the "
        "converter itself with --calibration FILE.npz with an array for each input "
        f"({', '.join(fact.name for fact in inputs)})"
    )


def _texts(source: Artifact, inputs: tuple[TensorFact, ...], count: int) -> Iterator[dict[str, Any]]:
    """One text at a time, so that no padding is measured."""
    import numpy as np
    from tokenizers import Tokenizer

    from converters.text_encoders.files import TOKENIZER, read_facts

    limit = read_facts(source.directory).max_tokens
    tokenizer = Tokenizer.from_file(str(_existing(source.directory / TOKENIZER)))
    tokenizer.enable_truncation(limit)
    for text in islice(sentences(Part.TUNING), count):
        encoding = tokenizer.encode(text)
        known = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        yield {fact.name: np.array([known[fact.name]], DTYPES[fact.datatype]) for fact in inputs}


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise Refused(f"the text encoder has no {file.name}")
    return file
