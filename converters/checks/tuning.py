"""How much a change of a graph costs, on inputs that a model may be tuned on: never those that judge the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.causal_lm.files import read_facts as read_decoder_facts
from converters.checks.decoder import Decoder, TokenIds
from converters.checks.measures import mean_cosine, same_choice
from converters.checks.tensors import open_graph
from converters.checks.text_encoder import GraphEncoder
from converters.formats import Artifact, Format
from converters.onnx_graphs.files import inputs_of
from converters.onnx_graphs.sensitivity import Cost
from converters.recipe import Step
from converters.samples.calibration import calibration_batches
from converters.samples.texts import Part, sentences, sources
from converters.text_encoders.files import CLASSIFICATION, read_facts
from converters.text_files import open_tokenizer

Array = NDArray[Any]
_ROWS, _BATCH = 64, 8
# Language models of up to so many weights read more: one next token in a thousand is then seen to change.
_SMALL_PARAMETERS, _SMALL_TOKENS, _LARGE_TOKENS, _WINDOW = 50_000_000, 4096, 512, 256


class TuningInputs:
    """What the source of a step answers, and how near a changed graph comes to that.

    Raises: Refused for a graph of tensors without a calibration file: random inputs would say nothing of its layers.
    """

    def __init__(self, step: Step) -> None:
        self._answer, self._accuracy = _READERS[step.source.format](step)
        self._expected = list(self._answer(step.source))

    def cost(self, changed: Artifact) -> Cost:
        apart = whole = 0.0
        alike: list[float] = []
        for before, after in zip(self._expected, self._answer(changed), strict=True):
            apart += float(np.square(after.astype(np.float64) - before).sum())
            whole += float(np.square(before, dtype=np.float64).sum())
            alike += self._accuracy(before, after)
        damage = (apart / whole) ** 0.5 if whole else float(apart > 0)
        if not np.isfinite(damage):
            return Cost(0.0, float("inf"))
        return Cost(float(np.mean(alike)) if alike else 1 - min(1.0, damage), damage)


_Answer = Callable[[Artifact], Iterator[Array]]
_Accuracy = Callable[[Array, Array], list[float]]  # of each row; none: the damage itself says it


def _text_generation(step: Step) -> tuple[_Answer, _Accuracy]:
    texts = _windows(step.source)

    def answer(artifact: Artifact) -> Iterator[Array]:
        decoder = Decoder(artifact.directory)
        return (decoder.logits(text)[:-1] for text in texts)

    return answer, _choices


def _windows(source: Artifact) -> list[TokenIds]:
    """Code and prose in turns, as the model's own tokenizer cuts them."""
    tokenizer = open_tokenizer(source.directory)
    size = min(_WINDOW, read_decoder_facts(source.directory).context_length)
    tokens = _SMALL_TOKENS if (source.facts.parameters or 0) <= _SMALL_PARAMETERS else _LARGE_TOKENS
    texts = chain.from_iterable(zip(sources(_ROWS, Part.TUNING), sentences(Part.TUNING), strict=False))
    windows: list[TokenIds] = []
    while sum(window.size for window in windows) < tokens:
        text = next(texts, None)
        if text is None:
            break
        token_ids = np.array(tokenizer.encode(text).ids, np.int64)
        windows += [token_ids[begin : begin + size] for begin in range(0, token_ids.size - 1, size)]
    return windows or [np.zeros(2, np.int64)]


def _text_encoder(step: Step) -> tuple[_Answer, _Accuracy]:
    facts = read_facts(step.source.directory)
    texts = list(islice(sentences(Part.TUNING), _ROWS))

    def answer(artifact: Artifact) -> Iterator[Array]:
        encode = GraphEncoder(artifact, step.source, facts)
        return (encode(texts[begin : begin + _BATCH]) for begin in range(0, len(texts), _BATCH))

    return answer, _choices if facts.task == CLASSIFICATION else _cosines


def _tensors(step: Step) -> tuple[_Answer, _Accuracy]:
    batches = calibration_batches(step, inputs_of(step.source.graph), _ROWS)

    def answer(artifact: Artifact) -> Iterator[Array]:
        run = open_graph(artifact.graph)
        return (np.asarray(output, np.float64) for batch in batches for output in run(batch))

    return answer, lambda expected, found: []


def _choices(expected: Array, found: Array) -> list[float]:
    return [float(same) for same in same_choice(expected, found)]


def _cosines(expected: Array, found: Array) -> list[float]:
    return [mean_cosine(expected[row : row + 1], found[row : row + 1]) for row in range(len(expected))]


_READERS = {
    Format.TEXT_GENERATION: _text_generation,
    Format.TEXT_ENCODER: _text_encoder,
    Format.ONNX: _tensors,
}
