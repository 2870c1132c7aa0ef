"""Does a text encoder's graph give the vectors or labels of its source, for texts of all lengths?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from converters.checks.measures import Array, Measure, max_difference, mean_cosine, same_choice
from converters.checks.results import FP32_DIFFERENCE_MAX, Check
from converters.formats import GRAPHS, Artifact
from converters.onnx_graphs.files import attempt
from converters.onnx_graphs.sessions import open_session
from converters.recipe import OutOfTolerance
from converters.samples.texts import Part, of_many_lengths, sentences, sources
from converters.text_encoders.files import CLASSIFICATION, EncoderFacts, read_facts
from converters.text_files import open_tokenizer

_SENTENCES, _SOURCES, _BATCH = 104, 8, 8
_LENGTHS = 8  # of the sentences


def check_text_encoder(original: Artifact, made: Artifact, *, is_exact: bool) -> list[Check]:
    """Compares with transformers where the source is a Hugging Face directory, else with the source's graph.

    Raises: OutOfTolerance, Refused.
    """
    facts = read_facts(made.directory)
    candidate = GraphEncoder(made, made, facts)
    texts = sample_texts()
    expected, found = in_batches(_source(original, made, facts), texts), in_batches(candidate, texts)
    alone = np.concatenate([candidate([text]) for text in texts[:_BATCH]])
    for values in (expected, found, alone):
        if not np.isfinite(values).all():
            raise OutOfTolerance("the model's answers are not finite numbers")
    if expected.shape != found.shape:
        raise OutOfTolerance(f"the converted model gives {found.shape[1]} dimensions, its source {expected.shape[1]}")
    limit = FP32_DIFFERENCE_MAX if is_exact else None
    if facts.task == CLASSIFICATION:
        likeness = Check(Measure.TOP1_AGREEMENT, float(same_choice(expected, found).mean()), len(texts))
    else:
        likeness = Check(Measure.MEAN_COSINE, mean_cosine(expected, found), len(texts))
    return [
        likeness,
        Check(Measure.MAX_DIFFERENCE, max_difference(expected, found), len(texts), limit),
        Check(Measure.PADDING_DIFFERENCE, max_difference(alone, found[:_BATCH]), _BATCH, limit),
    ]


class GraphEncoder:
    """The graph of one artifact behind the tokenizer of an encoder: embeddings, or a classifier's logits."""

    def __init__(self, artifact: Artifact, encoder: Artifact, facts: EncoderFacts) -> None:
        self._tokenizer = open_tokenizer(encoder.directory, facts.max_tokens)
        self._tokenizer.enable_padding(pad_id=facts.pad_token_id)
        self._output = "logits" if facts.task == CLASSIFICATION else "embedding"
        self._session = attempt("onnxruntime cannot open the graph", lambda: open_session(artifact.graph))

    def __call__(self, texts: Sequence[str]) -> Array:
        encodings = self._tokenizer.encode_batch(list(texts))
        tokens = {
            "input_ids": [one.ids for one in encodings],
            "attention_mask": [one.attention_mask for one in encodings],
            "token_type_ids": [one.type_ids for one in encodings],
        }
        feeds = {entry.name: np.array(tokens[entry.name], np.int64) for entry in self._session.get_inputs()}
        (answer,) = attempt("the graph does not run", lambda: self._session.run([self._output], feeds))
        return np.asarray(answer, np.float64)


def sample_texts() -> list[str]:
    """From a word or two to more than any encoder takes, in an order that mixes the lengths."""
    chosen = islice(sentences(Part.EVALUATION), _SENTENCES)
    return [*of_many_lengths(chosen, _LENGTHS), *sources(_SOURCES, Part.EVALUATION)]


def _source(original: Artifact, made: Artifact, facts: EncoderFacts) -> Callable[[Sequence[str]], Array]:
    if original.format in GRAPHS:
        return GraphEncoder(original, made, facts)
    from converters.text_encoders.reference import Reference

    return Reference(original, facts.max_tokens)


def in_batches(encode: Callable[[Sequence[str]], Array], texts: Sequence[str]) -> Array:
    starts = range(0, len(texts), _BATCH)
    return np.concatenate([encode(texts[start : start + _BATCH]) for start in starts])
