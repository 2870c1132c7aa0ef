"""Does a language model foresee the same next token, text after text that is given (teacher forcing)?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from converters.causal_lm.files import read_facts
from converters.checks.decoder import Decoder, TokenIds
from converters.checks.measures import Measure
from converters.checks.predictions import Predictions, joined, predictions
from converters.checks.text_generation import require_finite
from converters.contract import Evaluated
from converters.evaluation.examination import Answers, Report, key_of
from converters.formats import Artifact
from converters.recipe import Refused
from converters.samples.data_files import read_texts, thinned
from converters.samples.texts import Part, sentences, sources
from converters.text_files import open_tokenizer

WINDOW = 256
# Next tokens for models of up to so many weights: seconds for what is small, a minute for the largest.
_SMALL_PARAMETERS, _SMALL_TOKENS, _LARGE_TOKENS = 50_000_000, 8_192, 1_024
_TEXTS = 2_048
# Of the standard library: beginnings of modules, and prose where those are too short for a window.
_SOURCES, _SENTENCES = 64, 64


@dataclass(frozen=True, slots=True)
class NextTokens:
    """`windows`: token ids of texts, none longer than the context."""

    windows: tuple[TokenIds, ...]
    data: str

    @property
    def key(self) -> str:
        return key_of({f"{number:06d}": window for number, window in enumerate(self.windows)})

    def answers(self, model: Artifact, report: Report) -> Answers:
        decoder = Decoder(model.directory)
        found = []
        for number, window in enumerate(self.windows):
            report(number / len(self.windows))
            found.append(predictions(require_finite(decoder.logits(window)), window))
        every = joined(found)
        return {"choices": every.choices, "losses": every.losses}

    def compare(self, baseline: Answers, candidate: Answers) -> Evaluated:
        before, after = Predictions(**baseline), Predictions(**candidate)
        return Evaluated(
            Measure.TOP1_AGREEMENT,
            after.agreement(before),
            int(before.choices.size),
            f"next tokens of {self.data}",
            {Measure.PERPLEXITY_RATIO.value: after.perplexity_ratio(before)},
        )


def next_tokens(baseline: Artifact, data: Path | None) -> NextTokens:
    """Raises Refused."""
    texts, name = _texts(data)
    size = min(WINDOW, read_facts(baseline.directory).context_length)
    tokenizer = open_tokenizer(baseline.directory)
    windows = [window for text in texts for window in _windows(np.array(tokenizer.encode(text).ids, np.int64), size)]
    if not windows:
        raise Refused(f"{name} has no text of two tokens or more, so there is no next token to foresee")
    is_small = (baseline.facts.parameters or 0) <= _SMALL_PARAMETERS
    tokens, there = _SMALL_TOKENS if is_small else _LARGE_TOKENS, sum(window.size - 1 for window in windows)
    return NextTokens(tuple(thinned(windows, -(-len(windows) * min(tokens, there) // there))), name)


def _texts(data: Path | None) -> tuple[list[str], str]:
    if data is None:
        prose = islice(sentences(Part.EVALUATION), _SENTENCES)
        return [*sources(_SOURCES, Part.EVALUATION), *prose], "Python's standard library"
    given = read_texts(data)
    if given[0].label is not None:
        raise Refused(f"{data.name} has labels, and a language model is judged by its next tokens: leave them out")
    return [one.text for one in thinned(given, _TEXTS)], data.name


def _windows(token_ids: TokenIds, size: int) -> Iterator[TokenIds]:
    for start in range(0, token_ids.size - 1, size):
        yield token_ids[start : start + size]
